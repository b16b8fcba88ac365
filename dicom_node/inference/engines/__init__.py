"""Around the engines: what devices there are, graphs made ready for them, plans built and kept."""
