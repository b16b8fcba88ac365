"""How the node names itself in the objects it makes, so that it knows them again."""

NODE_MANUFACTURER = "dicom-node"
NODE_MODEL_NAME = "dicom-node"
"""Manufacturer's Model Name (0008,1090) of every result; an instance with it is never input."""
