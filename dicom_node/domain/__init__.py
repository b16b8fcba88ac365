"""Frozen types and ports that every part shares; no I/O, no framework."""
