"""Requests that are kept and answered later: storage commitment, and notices of instances that are available elsewhere."""
