"""What one worker does to a job: read, let the model run, write, record; several jobs at different stages at once."""
