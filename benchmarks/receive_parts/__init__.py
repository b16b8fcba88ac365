"""The parts of receive.py: corpora, senders, receivers, what they cost, the targets and the report."""
