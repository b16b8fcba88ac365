"""Notices to people and programs: what e-mails and webhooks say, and the two ways that they go."""
