"""Who requested an association."""

from __future__ import annotations

from typing import cast

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_node.domain.instances import AssociationPeer


def origin_of(association: Association) -> AssociationPeer:
    """Name both titles, padding removed, and the address; titles are as they came, printable only once the policy admitted them."""
    primitive = cast(A_ASSOCIATE, association.requestor.primitive)
    return AssociationPeer(primitive.calling_ae_title.strip(), primitive.called_ae_title.strip(), str(association.requestor.address))
