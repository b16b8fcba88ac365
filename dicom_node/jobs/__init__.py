"""The job queue: one table of states, claims with lease and heartbeat."""
