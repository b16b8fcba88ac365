"""One way in which images are not what a model is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Misfit:
    """One of them, as the parts of a sentence.

    Attributes:
        subject: Keyword, or name of the limit in model.yaml.
        seen: What the images are, for example `Modality is CT`.
        wanted: What they should be, for example `MR`; empty if `seen` names what they must not be.
        joint: Without `wanted`, what leads from `seen` to `the model is not for`.
    """

    subject: str
    seen: str
    wanted: str
    joint: str = ", which"

    def refusal(self) -> str:
        """Say it of a model's intended use; no full stop."""
        return f"{self.seen}, the model is for {self.wanted}" if self.wanted else f"{self.seen}{self.joint} the model is not for"

    def warning(self) -> str:
        """Say it of a protocol; no full stop."""
        return f"{self.seen} (wanted: {self.wanted})" if self.wanted else f"{self.seen}{self.joint} is not wanted"


def alternatives(texts: Sequence[str]) -> str:
    """Join texts: `a, b or c`."""
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def shown(value: float) -> str:
    """Write a number with at most three decimals."""
    return f"{round(value, 3):.10g}"
