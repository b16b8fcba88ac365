"""Units of measurement as UCUM codes.

The codes of DICOM's own context groups are known as a whole (pydicom has them); any other is read by the grammar: terms joined by `.`
and `/`, each a number, an annotation in braces, or a unit with a prefix before and an exponent or an annotation behind.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Self

from pydantic import model_validator
from pydicom.sr.codedict import codes

from dicom_node.inference.bundle.codes_schema import CodeEntry

_PREFIXES = ("Y", "Z", "E", "P", "T", "G", "M", "k", "h", "da", "d", "c", "m", "u", "n", "p", "f", "a", "z", "y", "Ki", "Mi", "Gi", "Ti")
_METRIC = (
    "m", "s", "g", "rad", "K", "C", "cd", "mol", "sr", "Hz", "N", "Pa", "J", "W", "A", "V", "F", "Ohm", "S", "Wb", "Cel", "T", "H", "lm",
    "lx", "Bq", "Gy", "Sv", "l", "L", "ar", "t", "bar", "u", "eV", "cal", "kat", "U", "eq", "osm", "By", "bit", "Bd", "m[Hg]", "m[H2O]",
    "[iU]", "[IU]",
)  # fmt: skip
_SINGLE = (
    "%", "[ppth]", "[ppm]", "[ppb]", "[ppt]", "10*", "10^", "[pi]", "deg", "'", "''", "gon", "circ", "min", "h", "d", "wk", "mo", "a",
    "[in_i]", "[ft_i]", "[lb_av]", "[oz_av]", "[degF]", "[pH]", "[hnsf'U]", "[arb'U]", "[USP'U]", "[diop]", "[p'diop]", "[Ch]", "REM",
    "RAD", "Ci", "R", "dyn", "erg", "P", "St",
)  # fmt: skip
_ANNOTATION = r"\{[!-z|~]*\}"


def _any(names: tuple[str, ...]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_UNIT = rf"(?:(?:{_any(_PREFIXES)})?(?:{_any(_METRIC)})|{_any(_SINGLE)})(?:[+-]?[0-9]+)?(?:{_ANNOTATION})?"
_TERM = rf"(?:{_UNIT}|[1-9][0-9]*|{_ANNOTATION})"
_CODE = re.compile(rf"/?{_TERM}(?:[./]{_TERM})*")


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(str(getattr(codes.UCUM, name).value) for name in codes.UCUM.dir())


def is_ucum(code: str) -> bool:
    """Say whether a text is a UCUM code, case sensitive. Source: UCUM 2.2, sections 2.2 to 2.6; PS3.16 CID 7181."""
    return _CODE.fullmatch(code) is not None or code in _known()


class UnitEntry(CodeEntry):
    """A unit of measurement."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scheme != "UCUM":
            raise ValueError(f"units are UCUM codes, the scheme is {self.scheme}")
        if not is_ucum(self.value):
            raise ValueError(f"{self.value!r} is no UCUM code; they read such as mL, mm, %, [hnsf'U], 1, cm2, mL/min, {{score}}")
        return self
