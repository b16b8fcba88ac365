"""Declared steps: what a manifest may say around a network, and the code of each."""
