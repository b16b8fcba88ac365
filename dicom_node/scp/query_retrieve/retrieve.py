"""C-GET and C-MOVE: fetching what a source has."""

from __future__ import annotations

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made by the module at run time
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.sources import QuerySource, Retrieval
from dicom_node.errors import SourceRefusedError, SourceUnreachableError
from dicom_node.scp.query_retrieve.attention import Attention
from dicom_node.scp.query_retrieve.proposals import storage_proposal
from dicom_node.scp.query_retrieve.query import FindQuery, QueryLevel, QueryModel, list_on
from dicom_node.scp.query_retrieve.retrieval import RetrieveRequest, RetrieveResult, Watcher
from dicom_node.scp.query_retrieve.sources import Proposal, associated
from dicom_node.scp.query_retrieve.sub_operations import MESSAGE_ID, Entrance, Operation

NOBODY = Watcher()


def retrieve(
    calling_ae_title: str, source: QuerySource, request: RetrieveRequest, door: Entrance, watcher: Watcher = NOBODY
) -> RetrieveResult:
    """Fetch by the service that the source is configured for; see `get` and `move`."""
    if source.retrieve is Retrieval.MOVE:
        return move(calling_ae_title, source, request, watcher)
    return get(calling_ae_title, source, request, door, watcher)


def get(calling_ae_title: str, source: QuerySource, request: RetrieveRequest, door: Entrance, watcher: Watcher = NOBODY) -> RetrieveResult:
    """Fetch by C-GET. Each instance is durable before its C-STORE is answered with success, and is not held in memory.

    Args:
        calling_ae_title: Our AE title.
        source: Where from; also the origin on record of what arrives.
        request: What.
        door: Takes what arrives; what it refuses is answered with its status.
        watcher: Looks on and may cancel.

    Raises:
        SourceError: no association, no answer in time, a failure status. What was kept until then stays.
    Source: PS3.4 C.4.3, C.5.3; PS3.7 D.3.3.4 for the roles.
    """
    identifier = request.identifier()
    sop_classes = request.sop_classes or sop_classes_at(calling_ae_title, source, request)
    model = str(StudyRootQueryRetrieveInformationModelGet)
    operation = Operation(source, "C-GET", watcher)
    origin = AssociationPeer(source.ae_title, calling_ae_title, source.host)
    proposal = Proposal(
        model,
        storage_proposal(sop_classes),
        [(evt.EVT_C_STORE, operation.store)],
        Attention(lambda kind: door.begin(origin, kind), operation.tick),
    )
    with associated(calling_ae_title, source, proposal) as association:
        return operation.run(association, model, association.send_c_get(identifier, model, msg_id=MESSAGE_ID))


def move(calling_ae_title: str, source: QuerySource, request: RetrieveRequest, watcher: Watcher = NOBODY) -> RetrieveResult:
    """Fetch by C-MOVE to our own AE title; the instances come through the receiver, which must run.

    Raises:
        SourceError: no association, no answer in time, a failure status.
    Source: PS3.4 C.4.2, C.5.2.
    """
    identifier = request.identifier()
    model = str(StudyRootQueryRetrieveInformationModelMove)
    operation = Operation(source, "C-MOVE", watcher)
    with associated(calling_ae_title, source, Proposal(model, attention=Attention(tick=operation.tick))) as association:
        return operation.run(association, model, association.send_c_move(identifier, calling_ae_title, model, msg_id=MESSAGE_ID))


def sop_classes_at(calling_ae_title: str, source: QuerySource, request: RetrieveRequest) -> tuple[str, ...]:
    """Ask a source which SOP classes a study holds, so that a C-GET can offer each in every transfer syntax.

    SOP Classes in Study (0008,0062) is optional for an SCP; failing that the instances are listed series by series.

    Returns:
        Empty if the source does not answer queries or does not say.
    """
    try:
        with associated(calling_ae_title, source, Proposal(QueryModel.STUDY_ROOT)) as association:
            study = {"StudyInstanceUID": request.study_instance_uid}
            named = list_on(association, source, FindQuery(QueryLevel.STUDY, study, ("SOPClassesInStudy",)))
            classes = {uid for match in named for uid in match.get("SOPClassesInStudy", ())}
            return tuple(sorted(classes or _listed(association, source, request)))
    except (SourceRefusedError, SourceUnreachableError):
        return ()


def _listed(association: Association, source: QuerySource, request: RetrieveRequest) -> set[str]:
    study = {"StudyInstanceUID": request.study_instance_uid}
    series = request.series_instance_uids
    if not series:
        found = list_on(association, source, FindQuery(QueryLevel.SERIES, study, ("SeriesInstanceUID",)))
        series = tuple(uid for match in found for uid in match.get("SeriesInstanceUID", ()))
    classes: set[str] = set()
    for uid in series:
        query = FindQuery(QueryLevel.IMAGE, {**study, "SeriesInstanceUID": uid}, ("SOPInstanceUID", "SOPClassUID"))
        classes.update(c for match in list_on(association, source, query) for c in match.get("SOPClassUID", ()))
    return classes
