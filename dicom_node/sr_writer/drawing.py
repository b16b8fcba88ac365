"""Drawing on pages: fonts, windowed images, outlines. Pages are (row, column, 3) uint8."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Rgb = tuple[int, int, int]
Pixels = NDArray[np.uint8]

PAGE = 768
BACKGROUND: Rgb = (12, 14, 18)
INK: Rgb = (232, 234, 238)
QUIET_INK: Rgb = (160, 168, 178)
WARNING: Rgb = (255, 196, 84)


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow, in pixels."""
    return ImageFont.load_default(size)


def windowed(values: NDArray[np.float32], center: float, width: float) -> Pixels:
    """Map Hounsfield units to grey. Source: PS3.3 C.11.2.1.2, linear."""
    scaled = (values - (center - width / 2)) * (255.0 / width)
    pixels: Pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    return pixels


def blended(gray: Pixels, mask: NDArray[np.bool_], color: Rgb, opacity: float) -> Pixels:
    """Tint part of a picture, in place if it is RGB already; shape (row, column) or (row, column, 3)."""
    rgb = np.repeat(gray[..., None], 3, axis=2) if gray.ndim == 2 else gray
    rgb[mask] = (rgb[mask] * (1 - opacity) + np.array(color) * opacity).astype(np.uint8)
    return rgb


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the inner edge of a mask, one pixel wide."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask)
    return mask & ~inner


def fitted(pixels: Pixels, width: int, height: int, pixel_mm: tuple[float, float]) -> Image.Image:
    """Scale a picture into a box, keeping true proportions for its (row, column) spacing."""
    rows, columns = pixels.shape[0] * pixel_mm[0], pixels.shape[1] * pixel_mm[1]
    scale = min(width / columns, height / rows)
    return Image.fromarray(pixels).resize((max(1, round(columns * scale)), max(1, round(rows * scale))), Image.Resampling.BILINEAR)


def wrapped(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> list[str]:
    """Break a text into lines that fit a width, pixels."""
    lines, current = [], ""
    for word in text.split():
        candidate = f"{current} {word}".strip()
        if current and draw.textlength(candidate, font=font(size)) > width:
            lines.append(current)
            current = word
        else:
            current = candidate
    return [*lines, current] if current else lines
