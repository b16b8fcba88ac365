"""Results that say why nothing was analysed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from dicom_node import __version__
from dicom_node.domain.inference_trace import TracedStep
from dicom_node.inference.applicability import not_analysed_result
from dicom_node.pipeline.model_host.messages import Concluded, OpenedWith
from dicom_node.pipeline.working.run import ReadJob, Run

_NOT_RUN = "not run"


def not_analysed(
    run: Run, read: ReadJob, reasons: Sequence[str], steps: Sequence[TracedStep] = (), opened: OpenedWith | None = None
) -> Concluded:
    """Conclude a run with the reasons why its images cannot be analysed.

    Args:
        run: The job's.
        read: What was read for it.
        reasons: One sentence each; at least one.
        steps: Those that were taken before that was known.
        opened: How the model was opened; None if it was not asked.
    """
    used = opened or OpenedWith(_NOT_RUN, _NOT_RUN, _NOT_RUN, "", "", {"dicom-node": __version__})
    now = run.entered_at or datetime.now(UTC)
    result = not_analysed_result(read.bundle, reasons, used.backend, used.precision, now)
    return Concluded(run.job.id, result, tuple(steps), used)
