"""Entries of a transaction: resources under names of their own, created once however often the bundle is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dicom_node.sr_writer.messages.draft import MessageDraft
from dicom_node.sr_writer.messages.fhir_values import DICOM_UID, Json, uid_identifier


@dataclass(slots=True, eq=False)
class Entries:
    """Entries of one bundle as they are collected."""

    draft: MessageDraft
    found: list[Json] = field(default_factory=list)

    def add(self, resource: Json, *parts: str, own: bool = True) -> Json:
        """Add a resource that a derived UID identifies; returns a reference to it.

        Args:
            resource: Its first identifier becomes the derived one.
            parts: What tells it apart in the message.
            own: It belongs to this message alone; else `resource` has its identifier already.
        """
        if own:
            kept = resource.get("identifier", [])
            resource = {**resource, "identifier": [uid_identifier(self.draft.uid(*parts), "observation-uid"), *kept]}
        return self.add_identified(resource, *parts)

    def add_identified(self, resource: Json, *parts: str) -> Json:
        """Add a resource by its first identifier, which must have a system; returns a reference to it.

        A server that has one with this identifier keeps it and refers to it. Source: FHIR http.html, conditional create.
        """
        kind = resource["resourceType"]
        first = resource["identifier"][0]
        url = self.draft.uuid(*parts).urn
        criteria = f"identifier={_in_query(first['system'])}|{_in_query(first['value'])}"
        request = {"method": "POST", "url": kind, "ifNoneExist": criteria}
        self.found.append({"fullUrl": url, "resource": resource, "request": request})
        return {"reference": url, "type": kind}


def by_uid(kind: str, uid: str) -> Json:
    """Refer to a resource by a DICOM UID, wherever it is."""
    return {"type": kind, "identifier": {"system": DICOM_UID, "value": f"urn:oid:{uid}"}}


def _in_query(text: str) -> str:
    """Write a part of a token in a query. Source: FHIR search.html, escaping; RFC 3986 2.1."""
    escaped = re.sub(r"[\\$,|]", lambda found: f"\\{found[0]}", text)
    return re.sub(r"[^A-Za-z0-9._~:/-]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), escaped)
