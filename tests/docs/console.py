"""Console blocks of documents: their commands are typed, and what is said is compared with what the document shows."""

from __future__ import annotations

import re
import shlex

from tests.commands import dicom_node


def typed(text: str) -> str:
    """Type the commands of a block; returns what is wrong."""
    said, wanted, code = [], [], 0
    for line in text.splitlines():
        if line == "$ echo $?":
            said.append(str(code))
        elif line.startswith("$ dicom-node "):
            done = dicom_node(*shlex.split(line)[2:])
            code = done.code
            said += (done.out + done.err).splitlines()
        else:
            wanted.append(line)
    if len(said) == len(wanted) and all(map(alike, wanted, said)):
        return ""
    return "\n".join(["wanted:", *wanted, "got:", *said])


def alike(wanted: str, said: str) -> bool:
    pattern = ".*".join(re.escape(" ".join(part.split(" "))) for part in spaced(wanted).split("…"))
    return re.fullmatch(pattern, spaced(said)) is not None


def spaced(line: str) -> str:
    return re.sub(r"(?<=\S) +", " ", line).rstrip()
