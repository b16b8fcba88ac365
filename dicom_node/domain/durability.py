"""How sure an acknowledged instance is to survive."""

from __future__ import annotations

from enum import StrEnum


class Durability(StrEnum):
    """What has happened before a C-STORE is answered with success.

    Attributes:
        STRICT: The instance's file and its folder were synced, each instance by itself. Neither a killed process nor a power cut
            loses anything.
        GROUP: The same promise; associations that finish at the same moment share the folder's sync.
        NONE: The file was written and renamed. A killed process loses nothing; a power cut loses what the kernel had not
            written yet, up to half a minute of instances.
    """

    STRICT = "strict"
    GROUP = "group"
    NONE = "none"
