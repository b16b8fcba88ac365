"""TensorRT's words: it returns nothing on failure and says why to a logger."""

from __future__ import annotations

from typing import Any

_MOST_LOG_LINES = 200


def lines_logger(trt: Any) -> Any:
    """Make a logger; it has to outlive every object of TensorRT that was given it.

    Args:
        trt: The library's module.

    Returns:
        An object with `lines` (warnings and errors so far) and `last_error()`.
    """

    class Lines(trt.ILogger):  # type: ignore[misc]
        """Keeps warnings and errors; everything else of the builder's thousands of lines is dropped."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self._kept = {trt.ILogger.WARNING: "warning", trt.ILogger.ERROR: "error", trt.ILogger.INTERNAL_ERROR: "error"}

        def log(self, severity: Any, message: str) -> None:
            if severity in self._kept and len(self.lines) < _MOST_LOG_LINES:
                self.lines.append(f"{self._kept[severity]}: {message}")

        def last_error(self) -> str:
            return next((line.removeprefix("error: ") for line in reversed(self.lines) if line.startswith("error: ")), "it gives no reason")

    return Lines()
