"""What all sections of node.yaml share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: frozen, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)
