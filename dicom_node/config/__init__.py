"""The configuration: schema, loader that collects every fault, and the snapshot that child processes run on."""

from dicom_node.config.arrivals_schema import Afterwards, StowSender, WatchSection
from dicom_node.config.faults import ConfigurationFaults, Fault
from dicom_node.config.loader import RulesText, load_configuration, load_draft
from dicom_node.config.model import Configuration, dump_snapshot, load_snapshot, restart_only_changes
from dicom_node.config.peer_schema import CalledAeTitle, Peer

__all__ = [
    "Afterwards",
    "CalledAeTitle",
    "Configuration",
    "ConfigurationFaults",
    "Fault",
    "Peer",
    "RulesText",
    "StowSender",
    "WatchSection",
    "dump_snapshot",
    "load_configuration",
    "load_draft",
    "load_snapshot",
    "restart_only_changes",
]
