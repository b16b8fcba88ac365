"""Models run in a process of their own: one that hangs, crashes or eats memory costs its job, not the worker."""
