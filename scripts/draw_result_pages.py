"""Draws the pictures of docs/results.md from made-up images: `PYTHONPATH=. python scripts/draw_result_pages.py`."""

from __future__ import annotations

from tests.result_pictures import FOLDER, pictures


def main() -> None:
    """Draw and write every picture."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in pictures().items():
        picture.save(FOLDER / f"results-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
