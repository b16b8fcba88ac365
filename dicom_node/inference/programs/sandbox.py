"""Runs a program with limits of time, memory and file size, without network, and with nothing of the node's environment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dicom_node.errors import ModelError
from dicom_node.inference.programs.kept_output import kept_output

_LARGEST_FILE_BYTES = 8 << 30
_KEPT_LOGS = 20
_RUNTIMES = ("docker", "podman")
_STOP_S = 30.0
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Program:
    """What is run.

    Attributes:
        argv: Command with its arguments; `{input}`, `{output}` and `{bundle}` stand for the folders.
        image: Container image that it is run in; empty runs it on this host.
        bundle: Folder of the bundle; the program may read it.
        name: Of the model, for logs.
        time_limit_s: Longest time, seconds.
        memory_bytes: Most memory; None sets no limit.
        output_file: Where what it writes is kept; None: in a file of the temporary folder, of which the last twenty stay.
    """

    argv: tuple[str, ...]
    image: str
    bundle: Path
    name: str
    time_limit_s: float
    memory_bytes: int | None
    output_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """How it was run, for the trace.

    Attributes:
        network: `none`, or why it could not be taken away.
    """

    way: str
    network: str


def run_program(program: Program, inputs: Path, outputs: Path) -> Ran:
    """Run a program to its end.

    Args:
        program: What is run.
        inputs: Its input folder.
        outputs: Its output folder, empty.

    Raises:
        ModelError: it cannot be started, takes too long, or does not end with status 0; what it wrote is in the log that is named.
    """
    if program.image:
        return _run_container(program, inputs, outputs)
    places = {"input": str(inputs), "output": str(outputs), "bundle": str(program.bundle)}
    separated = _network_can_be_taken()
    command = [*_limits(program), *(_WITHOUT_NETWORK if separated else ()), *_filled(program.argv, places)]
    scratch = outputs.parent
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(scratch), "TMPDIR": str(scratch), "LANG": "C.UTF-8"}
    _run(program, command, {**environment, **_folders(places)}, scratch)
    return Ran("process", "none" if separated else "not separated: this host allows no user namespaces")


def _run_container(program: Program, inputs: Path, outputs: Path) -> Ran:
    runtime = next((name for name in _RUNTIMES if shutil.which(name)), None)
    if runtime is None:
        raise ModelError(f"{program.name} runs in a container, and neither docker nor podman is installed")
    name = f"dicom-node-{uuid.uuid4().hex}"
    places = {"input": "/input", "output": "/output", "bundle": "/bundle"}
    command = [runtime, "run", "--rm", "--name", name, "--pull", "never", "--network", "none", "--cap-drop", "ALL"]
    command += ["--security-opt", "no-new-privileges", "--pids-limit", "4096", "--user", f"{os.getuid()}:{os.getgid()}"]
    if program.memory_bytes:
        command += ["--memory", str(program.memory_bytes), "--memory-swap", str(program.memory_bytes)]
    for key, value in _folders(places).items():
        command += ["--env", f"{key}={value}"]
    for folder, place in ((inputs, "/input:ro"), (outputs, "/output"), (program.bundle, "/bundle:ro")):
        command += ["--volume", f"{folder}:{place}"]
    environment = {
        key: os.environ[key] for key in ("PATH", "HOME", "DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR") if key in os.environ
    }
    try:
        _run(program, [*command, program.image, *_filled(program.argv, places)], environment, outputs.parent)
    except BaseException:
        with suppress(OSError, subprocess.SubprocessError):  # the client is dead, its container may not be
            subprocess.run([runtime, "kill", name], env=environment, capture_output=True, check=False, timeout=_STOP_S)
        raise
    return Ran(runtime, "none")


def _run(program: Program, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
    log = program.output_file or _new_log(program.name)
    with _kept(program, log) as stream:
        try:
            process = subprocess.Popen(
                command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
        except OSError as error:
            raise ModelError(f"{program.name}: {command[0]} cannot be started: {error.strerror}") from error
        try:
            status = process.wait(program.time_limit_s)
        except subprocess.TimeoutExpired as error:
            raise ModelError(
                f"{program.name}: the program took longer than {program.time_limit_s:g} s and was stopped",
                hint=f"resources.time_limit of model.yaml; what it wrote: {log}",
            ) from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status in _KILLED:
        limit = f"{program.memory_bytes} bytes" if program.memory_bytes else "none"
        raise ModelError(f"{program.name}: the program was killed, as when memory runs out (its limit: {limit})", hint=f"see {log}")
    if status:
        raise ModelError(f"{program.name}: the program ended with status {status}, 0 is wanted", hint=f"what it wrote: {log}")


@contextmanager
def _kept(program: Program, log: Path) -> Iterator[int]:
    try:
        with kept_output(log) as stream:
            yield stream
    except OSError as error:
        raise ModelError(f"{program.name}: what it writes cannot be kept: {error.strerror}", hint=f"see {log.parent}") from error


def _limits(program: Program) -> list[str]:
    """Die with the node; no core dumps, which would hold images."""
    memory = [f"--as={program.memory_bytes}"] if program.memory_bytes else []
    return ["setpriv", "--pdeathsig", "KILL", "--", "prlimit", "--core=0", f"--fsize={_LARGEST_FILE_BYTES}", *memory, "--"]


_WITHOUT_NETWORK = ("unshare", "--user", "--map-current-user", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--")
"""With a process space of its own, so that whatever the program leaves running ends with it."""


@lru_cache(maxsize=1)
def _network_can_be_taken() -> bool:
    try:
        return subprocess.run([*_WITHOUT_NETWORK, "true"], capture_output=True, check=False, timeout=_STOP_S).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _filled(argv: Sequence[str], places: Mapping[str, str]) -> list[str]:
    filled = list(argv)
    for name, place in places.items():
        filled = [word.replace("{" + name + "}", place) for word in filled]
    return filled


def _folders(places: Mapping[str, str]) -> dict[str, str]:
    """Both folders under the names that MONAI application packages, Holoscan and mercure modules look for, and our own."""
    given, made = places["input"], places["output"]
    named = {key: place for pair in _FOLDER_NAMES for key, place in zip(pair, (given, made), strict=True)}
    return {**named, "DICOM_NODE_BUNDLE": places["bundle"]}


_FOLDER_NAMES = (
    ("DICOM_NODE_INPUT", "DICOM_NODE_OUTPUT"),
    ("MERCURE_IN_DIR", "MERCURE_OUT_DIR"),
    ("MONAI_INPUTPATH", "MONAI_OUTPUTPATH"),
    ("HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH"),
)


def _new_log(name: str) -> Path:
    """A file for what a program writes, which may name patients: for this user only, and the oldest go."""
    folder = Path(tempfile.gettempdir()) / f"dicom-node-programs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise ModelError(f"{folder} belongs to another user; logs of programs are not written there")
    for old in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[: -_KEPT_LOGS + 1]:
        old.unlink(missing_ok=True)
    log = folder / f"{name}-{uuid.uuid4().hex[:8]}.log"
    log.touch(mode=0o600)
    return log
