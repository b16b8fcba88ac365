"""Sending objects to destinations, and reading what the answers mean."""
