"""Telling people and programs: who is told of what, when somebody is silent, the digest, and the thread that sends."""

from dicom_node.pipeline.notifying.notifier import Notifier, NotifierThread

__all__ = ["Notifier", "NotifierThread"]
