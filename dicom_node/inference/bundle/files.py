"""The files of a bundle: safe names, links, digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath


def name_problem(name: str) -> str:
    """Say why a text is no name of a file in a bundle; empty if it is one. Nothing is looked up."""
    if not name.strip():
        return "is empty"
    if "\\" in name or "\0" in name or not name.isprintable():
        return f"{name!r} holds a backslash or a control character; write / between folders"
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        return f"{name!r} is an absolute path; name it relative to the bundle"
    if ".." in PurePosixPath(name).parts:
        return f"{name!r} leads out of the bundle"
    return ""


def file_problem(folder: Path, name: str, *, directory: bool = False) -> str:
    """Say why a name cannot be used as a file of a bundle; empty if it can.

    Args:
        folder: Of the bundle.
        name: Relative, with `/`.
        directory: A folder will do too.
    """
    if problem := name_problem(name):
        return problem
    path = folder / name
    if not leads_inside(path, folder):
        return f"{name!r} is a link that leads out of the bundle"
    if path.is_file() or (directory and path.is_dir()):
        return ""
    return f"{name!r} is a folder, not a file" if path.is_dir() else f"no file {name!r} in {folder}"


def leads_inside(path: Path, folder: Path) -> bool:
    """Say whether a path, its links followed, stays in a folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def bundle_files(folder: Path) -> Iterator[Path]:
    """List the files of a bundle, sorted; links to folders are not followed, their content stands in the bundle under its own name."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def outside_links(folder: Path) -> list[str]:
    """List the links in a bundle that lead out of it, relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() and not leads_inside(p, folder))


def digest_of(folder: Path) -> str:
    """SHA-256 over name and content of every file, hexadecimal."""
    digest = hashlib.sha256()
    for file in bundle_files(folder):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()


def network_sha256(path: Path) -> str:
    """SHA-256 of a network file, or over the folder of a MONAI bundle, hexadecimal."""
    return digest_of(path) if path.is_dir() else file_sha256(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
