"""Counting a study's instances at a source, and fetching those that the node lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from dicom_node.domain.fetches import FetchState
from dicom_node.errors import SourceError
from dicom_node.pipeline.fetching.attempt import Attempt
from dicom_node.scp.query_retrieve.counts import Ask, InstanceCount, ListedInstance, counted, listed_instances
from dicom_node.scp.query_retrieve.retrieval import RetrieveRequest
from dicom_node.storage import fetches
from dicom_node.storage.fetches import Counted


def count(attempt: Attempt) -> Counted:
    """Ask how many instances the study has, this node's own results left out.

    A number that equals what has arrived is taken as it is. Any other may hold results of this node that came to lie in the archive;
    then the instances are listed, and those that the node made are left out.

    Raises:
        SourceError: no answer; ask again.
    """
    study, asked_at = attempt.fetch.study_instance_uid, datetime.now(UTC)
    with attempt.archive().asking() as ask:
        number = counted(ask, study)
        if not number.instances:
            return Counted(None, (), asked_at, "the source does not know the study")
        with attempt.database.transaction() as session:
            arrived, made = fetches.instances_here(session, study), fetches.results_made(session, study)
        if number.instances == len(arrived) and not made:
            return Counted(number.instances, (), asked_at, f"{number.instances} instance(s), counted by {number.counted_by}")
        listed = listed_instances(ask, study)
    return _without_results(attempt, number, listed, asked_at)


def fetch_missing(attempt: Attempt) -> tuple[FetchState, str]:
    """Fetch what the source has and the node lacks: series of which nothing came as a whole, of others the single instances.

    Raises:
        SourceError: not all of it came; try again.
    """
    study, archive = attempt.fetch.study_instance_uid, attempt.archive()
    with archive.asking() as ask:
        theirs = _not_ours(attempt, _listed(ask, study, archive.name))
    missing = _missing(attempt, theirs)
    if not missing:
        return FetchState.DONE, f"nothing is missing of {len(theirs)} instance(s)"
    most = attempt.around.configuration.node.fetch.max_instances
    if len(missing) > most:
        return FetchState.FAILED, f"{len(missing)} instances are missing, and fetch.max_instances allows {most}"
    for request in _requests(study, theirs, missing):
        attempt.retrieve(archive, request)
    attempt.wait_until_indexed()
    still = _missing(attempt, missing)
    if still:
        raise SourceError(f"{archive.name}: {len(still)} of {len(missing)} missing instances did not come")
    return FetchState.DONE, f"{len(missing)} missing instance(s) came by {archive.service}"


def _without_results(attempt: Attempt, number: InstanceCount, listed: Sequence[ListedInstance], asked_at: datetime) -> Counted:
    if not listed:
        return Counted(None, (), asked_at, f"the source counts {number.instances} instance(s), but does not list them")
    theirs = _not_ours(attempt, listed)
    missing = tuple(i.sop_instance_uid for i in _missing(attempt, theirs))
    ours = len(listed) - len(theirs)
    left_out = f", {ours} result(s) of this node left out" if ours else ""
    return Counted(len(theirs), missing, asked_at, f"{len(theirs)} instance(s), listed{left_out}; {len(missing)} had not arrived")


def _listed(ask: Ask, study_instance_uid: str, source_name: str) -> tuple[ListedInstance, ...]:
    listed = listed_instances(ask, study_instance_uid)
    if not listed:
        raise SourceError(f"{source_name}: lists no instance of the study")
    return listed


def _not_ours(attempt: Attempt, listed: Sequence[ListedInstance]) -> list[ListedInstance]:
    with attempt.database.transaction() as session:
        ours = fetches.own_results(session, [i.sop_instance_uid for i in listed])
    return [i for i in listed if i.sop_instance_uid not in ours]


def _missing(attempt: Attempt, listed: Sequence[ListedInstance]) -> list[ListedInstance]:
    with attempt.database.transaction() as session:
        here = fetches.instances_here(session, attempt.fetch.study_instance_uid)
    return [i for i in listed if i.sop_instance_uid not in here]


def _requests(study: str, theirs: Sequence[ListedInstance], missing: Sequence[ListedInstance]) -> list[RetrieveRequest]:
    """Ask for a series at once where nothing of it is here, else for its instances."""
    gaps = {i.series_instance_uid for i in theirs} & {i.series_instance_uid for i in missing}
    begun = {i.series_instance_uid for i in set(theirs) - set(missing)}
    whole = tuple(sorted(gaps - begun))
    requests = [RetrieveRequest(study, whole, (), _classes(i for i in missing if i.series_instance_uid in whole))] if whole else []
    for series in sorted(gaps & begun):
        some = [i for i in missing if i.series_instance_uid == series]
        requests.append(RetrieveRequest(study, (series,), tuple(i.sop_instance_uid for i in some), _classes(some)))
    return requests


def _classes(instances: Iterable[ListedInstance]) -> tuple[str, ...]:
    """Return what C-GET has to accept; empty, which asks anew, if the source left one out."""
    classes = {i.sop_class_uid for i in instances}
    return () if "" in classes else tuple(sorted(classes))
