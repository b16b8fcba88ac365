"""What all sections of node.yaml share."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: frozen, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    def with_paths_below(self, folder: Path, *options: str) -> Self:
        """Return the section with the paths of some options, where they have one, starting at a folder."""
        return self.model_copy(update={name: folder / value for name in options if (value := getattr(self, name)) is not None})
