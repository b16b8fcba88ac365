"""The configuration as the node uses it, and the snapshot handed to child processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import ConfigDict

from dicom_node.config.node_schema import NodeFile, WorkersSection
from dicom_node.config.notices_schema import ANY_PEER
from dicom_node.config.return_addresses import return_addresses
from dicom_node.config.rules_schema import RulesFile
from dicom_node.config.section import Section
from dicom_node.domain.destinations import Destination, StorageScp, StowServer, TheSender
from dicom_node.domain.notices import Receiver, SilenceWatch, SmtpServer
from dicom_node.domain.profiles import PRESETS, ResultProfile
from dicom_node.domain.queue_order import hours_from_text
from dicom_node.domain.rules import Rule
from dicom_node.domain.sources import Source
from dicom_node.domain.waits import DEFAULT_WAITS, Wait

_RESTART = (
    "ae_title",
    "dicom.host",
    "dicom.port",
    "dicom.receivers",
    "dicom.max_pdu_bytes",
    "dicom.durability",
    "dicom.max_instance",
    "dicom.min_free",
    "dicom.tls.port",
    "data_dir",
    "database",
    "commitment.max_references",
    "workers.count",
    "workers.threads",
    "workers.lease",
    "workers.model_memory",
    "web",
    "watch",
)


class Configuration(Section):
    """Everything read and checked; paths are absolute.

    Attributes:
        rules_text: The rules file as it was written, for the history of versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    node: NodeFile
    rules_file: RulesFile
    rules_text: str = ""

    @property
    def ae_title(self) -> str:
        """AE title of this node."""
        return self.node.ae_title

    @property
    def data_dir(self) -> Path:
        """Folder for instances, results and run-time files."""
        return self.node.data_dir

    @property
    def bundles_dir(self) -> Path:
        """Where bundles that are delivered as zips are unpacked to."""
        return self.node.data_dir / "bundles"

    @property
    def workers(self) -> WorkersSection:
        """Model processes."""
        return self.node.workers

    @cached_property
    def waits(self) -> Mapping[str, Wait]:
        """Quiet and longest wait by modality, for what a rule leaves open and for a study that no rule may take."""
        return {**DEFAULT_WAITS, **self.rules_file.waits()}

    @property
    def asks_for_release(self) -> bool:
        """Whether a rule wants to know when an association ends."""
        return any(rule.complete_when.release is not None for rule in self.rules_file.rules)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Routing rules, hold rules first."""
        return tuple(r.to_rule() for r in self.rules_file.rules)

    @cached_property
    def rules_digest(self) -> str:
        """Digest of what the rules say, comments and layout left out."""
        return hashlib.sha256(self.rules_file.model_dump_json().encode()).hexdigest()

    @cached_property
    def destinations(self) -> Mapping[str, Destination]:
        """Destinations by name: those of node.yaml, and one for each peer that results can return to."""
        named = {d.name: d.to_destination(self.profiles[d.profile]) for d in self.node.destinations}
        return {**named, **{d.name: d for d in return_addresses(named.values(), self.node.peers)}}

    @cached_property
    def profiles(self) -> Mapping[str, ResultProfile]:
        """Result profiles by name: the presets and the site's own."""
        return {**PRESETS, **{p.name: p.to_profile() for p in self.node.profiles}}

    def profile_of(self, destination: str) -> ResultProfile | None:
        """Return what a destination gets; None if no destination has that name, or it takes no DICOM objects."""
        found = self.destinations.get(destination)
        return self.profiles[found.profile] if isinstance(found, StorageScp | StowServer | TheSender) else None

    @cached_property
    def query_sources(self) -> Mapping[str, Source]:
        """Query sources by name."""
        return {s.name: s.to_source() for s in self.node.query_sources}

    @cached_property
    def receivers(self) -> Mapping[str, Receiver]:
        """Who may be told, by name."""
        return {r.name: r.to_receiver() for r in self.node.notifications.receivers}

    @property
    def smtp(self) -> SmtpServer | None:
        """Mail server."""
        smtp = self.node.notifications.smtp
        return smtp.to_server() if smtp else None

    @cached_property
    def silence_watches(self) -> tuple[SilenceWatch, ...]:
        """Peers that must not be silent for long."""
        titles = {
            **{s.name: s.name for s in self.node.stow.senders},
            **{p.name: p.ae_title for p in self.node.peers},
            ANY_PEER: "",
        }
        section = self.node.notifications
        return tuple(
            SilenceWatch(s.peer, titles[s.peer], s.after, tuple(map(hours_from_text, s.hours)), section.zone, s.to) for s in section.silence
        )

    @cached_property
    def report_to(self) -> Mapping[str, StorageScp]:
        """Where commitment results go, by the AE title that asked."""
        return {
            r.ae_title: StorageScp(r.ae_title, r.ae_title, r.host, r.port, "", r.timeout.total_seconds())
            for r in self.node.commitment.report_to
        }


def dump_snapshot(configuration: Configuration) -> str:
    """Write a checked configuration as JSON."""
    return configuration.model_dump_json(indent=1)


def load_snapshot(text: str) -> Configuration:
    """Read a snapshot; equal to the configuration it was made from."""
    return Configuration.model_validate_json(text)


def restart_only_changes(old: Configuration, new: Configuration) -> tuple[str, ...]:
    """Name the options that differ and that a running node cannot change."""
    before, after = json.loads(old.node.model_dump_json()), json.loads(new.node.model_dump_json())
    return tuple(option for option in _RESTART if _at(before, option) != _at(after, option))


def _at(tree: dict[str, object], option: str) -> object:
    value: object = tree
    for key in option.split("."):
        value = value[key] if isinstance(value, dict) else None
    return value
