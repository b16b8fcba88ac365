"""Parts of inference.py."""
