"""Regular expressions of rules: RE2's, which match in time linear in the text."""

from __future__ import annotations

import re2


def pattern_problem(pattern: str) -> str:
    """Say why RE2 does not take a pattern; empty if it does."""
    if not pattern:
        return "an empty regular expression would match every value"
    try:
        re2.compile(pattern, _quiet())
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        return f"{pattern!r} is no regular expression of RE2: {reason}" + _hint(pattern)
    return ""


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


def _hint(pattern: str) -> str:
    if any(mark in pattern for mark in ("(?=", "(?!", "(?<=", "(?<!")):
        return "; RE2 has no look-ahead and look-behind, since they can take for ever"
    return "; RE2 has no back references, since they can take for ever" if any(f"\\{n}" in pattern for n in range(1, 10)) else ""
