"""Commands as an operator types them, in this process: a second less each than a new one."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from dicom_node.cli import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def dicom_node(*arguments: object) -> Done:
    """Run `dicom-node ARGUMENTS`; nobody sits at a terminal."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["dicom-node", *map(str, arguments)]),
        patch.object(sys, "stdin", io.StringIO()),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
