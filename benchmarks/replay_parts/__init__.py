"""An index of many studies for benchmarks/replay.py."""
