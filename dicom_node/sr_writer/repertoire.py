"""What a Specific Character Set can hold, and which one a result declares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.charset import python_encoding

UTF8 = "ISO_IR 192"
LATIN_1 = "ISO_IR 100"
_HANGUL = ("", "ISO 2022 IR 149")
_STRICT = {
    "": "ascii",  # Python's codecs for these hold more than the sets: Latin-1, kanji, Hangul
    "ISO_IR 6": "ascii",
    "ISO 2022 IR 6": "ascii",
    "ISO_IR 13": "ascii",
    "ISO 2022 IR 13": "ascii",
    "ISO 2022 IR 159": "iso2022_jp_1",
}


@dataclass(frozen=True, slots=True)
class Repertoire:
    """Characters that the results of one source may be written in.

    Attributes:
        declared: Values of Specific Character Set (0008,0005) of the results; empty for the default repertoire, ASCII.
        valid: Whether the source's own declaration can be used as it is.
    """

    declared: tuple[str, ...]
    valid: bool = True

    @property
    def value(self) -> str | list[str] | None:
        """What the element takes; None if it stays out."""
        if not self.declared:
            return None
        return self.declared[0] if len(self.declared) == 1 else list(self.declared)

    @property
    def label(self) -> str:
        """How a reader knows it."""
        return "\\".join(self.declared) or "ISO_IR 6"

    def holds(self, texts: Iterable[str]) -> bool:
        """Tell whether every character of the texts has a code in one of the declared sets."""
        encodings = [_STRICT.get(name, python_encoding[name]) for name in self.declared] or ["ascii"]
        return all(
            any(_encodes(encoding, character) for encoding in encodings) for character in set().union(*texts) if ord(character) > 126
        )


def repertoire_of(declared: str | Sequence[str] | None, *, ascii_only: bool) -> Repertoire:
    """Choose the character set of results from the source's.

    The declaration is kept, since an archive refuses an object whose set does not fit the patient it has. Bytes that nobody declared
    are taken for Latin-1, which keeps each of them.

    Args:
        declared: Specific Character Set of the source.
        ascii_only: Whether the source's names and identifiers are ASCII.
    Source: PS3.3 C.12.1.1.2.
    """
    names = [declared] if isinstance(declared, str) else list(declared or ())
    names = [str(name) for name in names]
    if not any(names):
        return Repertoire(() if ascii_only else (LATIN_1,))
    if all(name in python_encoding for name in names):
        return Repertoire(tuple(names))
    known = tuple(name for name in names if name in python_encoding and name)
    return Repertoire(known[:1] or (LATIN_1,), valid=False)


def widened(repertoire: Repertoire, texts: Sequence[str]) -> Repertoire | None:
    """Return the repertoire that holds the texts and leaves the source's bytes as they are, or None.

    Where the source declares nothing, Hangul may be added by code extension: ASCII stays what it is.
    """
    if repertoire.holds(texts):
        return repertoire
    hangul = Repertoire(_HANGUL)
    return hangul if not repertoire.declared and hangul.holds(texts) else None


def _encodes(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
