"""The models that come with the node: the steps around their networks, one module per model and per part of it."""
