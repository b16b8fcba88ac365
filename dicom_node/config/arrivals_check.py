"""What STOW-RS senders and watched folders need that one section alone cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.config.arrivals_schema import StowSender
from dicom_node.config.faults import Fault
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.errors import ConfigError


def with_absolute_arrivals(node: NodeFile, folder: Path) -> NodeFile:
    """Resolve token files and watched folders against the folder of node.yaml."""
    senders = tuple(s.model_copy(update={"token_file": s.token_file and folder / s.token_file}) for s in node.stow.senders)
    watch = tuple(w.model_copy(update={"folder": folder / w.folder}) for w in node.watch)
    return node.model_copy(update={"stow": node.stow.model_copy(update={"senders": senders}), "watch": watch})


def check_arrivals(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    """Find senders that could never be told apart and folders that cannot be watched.

    Args:
        node: With absolute paths.
        source: The file it came from.
    """
    yield from _check_senders(node.stow.senders, source)
    if node.stow.senders and not node.web.enabled:
        yield source.fault(["stow", "senders"], "nothing listens for them", "set web.enabled: true, or take the senders out")
    for number, watched in enumerate(node.watch):
        place: list[str | int] = ["watch", number, "folder"]
        if not watched.folder.is_dir():
            yield source.fault(place, f"folder {watched.folder} does not exist", "create it, writable by the node's user")
        elif _overlap(watched.folder, node.data_dir):
            yield source.fault(place, "lies in data_dir, or data_dir in it", "choose a folder of its own")
        elif any(_overlap(watched.folder, other.folder) for other in node.watch[:number]):
            yield source.fault(place, "lies in another watched folder, or that one in it", "watched folders must lie apart")


def _check_senders(senders: tuple[StowSender, ...], source: YamlFile) -> Iterator[Fault]:
    owners: dict[str, str] = {}
    for number, sender in enumerate(senders):
        place: list[str | int] = ["stow", "senders", number]
        if sender.name in (s.name for s in senders[:number]):
            yield source.fault([*place, "name"], f"name {sender.name!r} is used twice", "names must differ")
        try:
            owner = owners.setdefault(sender.token_digest(), sender.name)
        except ConfigError as error:
            yield source.fault([*place, "token_file"], str(error), error.hint)
        else:
            if owner != sender.name:
                yield source.fault(place, f"has the token of sender {owner!r}", "give each sender a token of its own")


def _overlap(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
