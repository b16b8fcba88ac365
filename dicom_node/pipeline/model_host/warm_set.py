"""The models that stay loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WarmModel:
    """A loaded model, as the choice of who has to go sees it.

    Attributes:
        memory_bytes: The larger of what its manifest declares and what was seen when it was loaded.
        last_used_s: When its last run ended, or it was loaded; seconds on any clock.
        in_use: Runs of it are under way; it stays whatever it takes.
    """

    key: str
    memory_bytes: int
    last_used_s: float
    in_use: bool


def choose_to_evict(models: Iterable[WarmModel], wanted_bytes: int, budget_bytes: int) -> list[str]:
    """Choose the models that go so that another one fits, least recently used first.

    Args:
        models: Those loaded now.
        wanted_bytes: Of the model that is to be loaded; one larger than the whole budget is loaded all the same, alone.
        budget_bytes: For all together.

    Returns:
        Keys; as few as needed in that order.
    """
    loaded = list(models)
    excess = sum(m.memory_bytes for m in loaded) + wanted_bytes - budget_bytes
    chosen = []
    for model in sorted(loaded, key=lambda m: m.last_used_s):
        if excess <= 0:
            break
        if not model.in_use:
            chosen.append(model.key)
            excess -= model.memory_bytes
    return chosen
