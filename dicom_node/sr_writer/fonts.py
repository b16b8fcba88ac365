"""Fonts of pages and documents, by language."""

from __future__ import annotations

import contextlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PACKAGES = {"ko": (("justmytype_intl_cjk", "fonts/ofl/notosanskr/NotoSansKR[wght].ttf"),)}
_SYSTEM = {"ko": ("/usr/share/fonts/truetype/nanum/NanumGothic.ttf",)}
_REGULAR = 400


@dataclass(frozen=True, slots=True)
class Typeface:
    """A font with the characters of a language.

    Attributes:
        file: TrueType file; None for the font that comes with Pillow, which has the Latin alphabet.
    """

    file: Path | None

    def sized(self, size: int) -> Font:
        """Return the font in a size, pixels."""
        return _font(self.file, size)


def typeface_of(language: str) -> Typeface | None:
    """Find a font for a language; None if none is installed.

    Hangul comes with the extra `korean` (Noto Sans KR) or the Debian package fonts-nanum, both under the SIL Open Font License.
    """
    if language not in _PACKAGES:
        return Typeface(None)
    for package, name in _PACKAGES[language]:
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or []) if found else []:
            if (Path(folder) / name).is_file():
                return Typeface(Path(folder) / name)
    files = (Path(name) for name in _SYSTEM[language])
    return next((Typeface(file) for file in files if file.is_file()), None)


@lru_cache(maxsize=64)
def _font(file: Path | None, size: int) -> Font:
    if file is None:
        return ImageFont.load_default(size)
    font = ImageFont.truetype(str(file), size)
    with contextlib.suppress(OSError):  # the font has one weight
        font.set_variation_by_axes([_REGULAR])
    return font
