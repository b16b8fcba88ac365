"""Models that are programs of their own: run in a folder of their own, with limits, their answers brought onto the source grid."""
