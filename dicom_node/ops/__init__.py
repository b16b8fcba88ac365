"""Running the node: logs, wake-ups between processes, health."""
