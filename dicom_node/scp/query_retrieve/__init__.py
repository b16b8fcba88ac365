"""The node as SCU of Query/Retrieve: C-FIND, C-MOVE, and C-GET whose instances come through the door."""
