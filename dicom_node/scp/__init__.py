"""The receiving application entity: negotiation, access policy, C-STORE into durable files."""
