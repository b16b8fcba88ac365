"""Trying other rules on the studies of the past."""

from dicom_node.pipeline.replay.compare import ChangeKind, Tally
from dicom_node.pipeline.replay.run import Progress, Replayed, ReplayRequest, run_replay

__all__ = ["ChangeKind", "Progress", "ReplayRequest", "Replayed", "Tally", "run_replay"]
