"""Rebuilding in a process of its own: what it loads and decodes is gone when it ends, and a crash costs one object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeAlias

from pydantic import BaseModel, TypeAdapter, ValidationError

from dicom_node.config import Configuration, dump_snapshot, load_snapshot
from dicom_node.domain.profiles import ResultProfile
from dicom_node.errors import DicomNodeError, ResultError, StorageError, place_of
from dicom_node.jobs import queue
from dicom_node.ops.lifecycle import die_with_parent
from dicom_node.storage import Database, InstanceFiles

_LONGEST_S = 600.0
_PROFILE = TypeAdapter(ResultProfile)
_PARENT = "DICOM_NODE_REBUILD_FOR"


Build: TypeAlias = Callable[[int, ResultProfile], int]
"""Builds what a profile wants of a job, named by its number, and the job has not; returns how many objects were made.

Raises ResultError if they cannot be made now or later, and StorageError if they could not be made now.
"""


class _Request(BaseModel):
    configuration: str
    job_id: int
    profile: str


class _Answer(BaseModel):
    made: int = 0
    fault: str = ""
    hint: str = ""
    retryable: bool = False


class BuildApart:
    """Builds in a child process, one at a time, since each takes half a gigabyte for a chest CT. Used from any thread. See `Build`."""

    def __init__(self, configuration: Callable[[], Configuration]) -> None:
        """Take how the configuration of the moment is found."""
        self._configuration = configuration
        self._one_at_a_time = threading.Lock()

    def __call__(self, job_id: int, profile: ResultProfile) -> int:
        """See `Build`."""
        request = _Request(
            configuration=dump_snapshot(self._configuration()), job_id=job_id, profile=_PROFILE.dump_json(profile).decode()
        ).model_dump_json()
        try:
            with self._one_at_a_time:
                done = subprocess.run(
                    [sys.executable, "-m", __name__],
                    input=request.encode(),
                    stdout=subprocess.PIPE,
                    timeout=_LONGEST_S,
                    check=False,
                    env={**os.environ, _PARENT: str(os.getpid())},
                )
            answer = _Answer.model_validate_json(done.stdout)
        except subprocess.TimeoutExpired as error:
            raise StorageError(f"another form of the result was not built within {_LONGEST_S:g} s") from error
        except (OSError, ValidationError) as error:
            raise StorageError("the process that builds another form of the result died", hint="is there enough memory?") from error
        if answer.fault:
            raise (StorageError if answer.retryable else ResultError)(answer.fault, hint=answer.hint)
        return answer.made


def main() -> None:
    """Read a request from standard input, build, and answer on standard output."""
    if parent := os.environ.get(_PARENT):
        die_with_parent(int(parent))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    answers.write(_answer(json.load(sys.stdin)).model_dump_json())
    answers.close()


def _answer(request: object) -> _Answer:
    asked = _Request.model_validate(request)
    configuration = load_snapshot(asked.configuration)
    try:
        from dicom_node.pipeline.results.rebuild import Rebuilder  # noqa: PLC0415 - only the child loads what builds

        database = Database(configuration.node.database)
        with database.reading() as session:
            job = queue.get(session, asked.job_id)
        if job is None:
            raise ResultError(f"there is no job {asked.job_id}")
        rebuilder = Rebuilder(configuration.ae_title, database, InstanceFiles(configuration.data_dir))
        return _Answer(made=len(rebuilder.rebuild(job, _PROFILE.validate_json(asked.profile))))
    except DicomNodeError as error:
        return _Answer(fault=f"{error.code}: {error}", hint=error.hint, retryable=error.retryable)
    except Exception as error:  # noqa: BLE001 - a defect of ours must not be repeated for ever
        return _Answer(fault=f"internal error: {type(error).__name__} in {place_of(error)}")


if __name__ == "__main__":
    main()
