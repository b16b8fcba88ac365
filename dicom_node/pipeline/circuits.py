"""The circuit breakers of the sender: which destinations are left alone now, and the question that ends it."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

from dicom_node.delivery.breaker import CLOSED, Breaker
from dicom_node.delivery.channel import Channel
from dicom_node.delivery.outcomes import Backoff
from dicom_node.errors import DeliveryError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.storage.circuits import OpenCircuit, write_circuits


class Circuits:
    """One breaker a destination, in memory; others read in `run` which are open. Safe to use from many threads."""

    def __init__(self, run: Path) -> None:
        """Begin with all closed."""
        self._run = run
        self._breakers: dict[str, Breaker] = {}
        self._guard = threading.Lock()
        self._log: Logger = get_logger()
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_circuits(run, {})

    def is_open(self, name: str, now: datetime) -> bool:
        """Say whether nothing is to be sent to a destination."""
        return self._of(name).is_open(now)

    def not_before(self, name: str, moment: datetime) -> datetime:
        """Return when something that is due at a moment can be tried."""
        return max(moment, self._of(name).open_until or moment)

    def admit(self, name: str, channel: Channel, now: datetime) -> bool:
        """Ask a half-open destination whether it answers; True if it was open until now and has answered.

        Raises:
            DeliveryError: it does not answer; its breaker is still to be told.
        """
        if not self._of(name).wants_probe(now):
            return False
        channel.probe()
        self.succeeded(name)
        return True

    def succeeded(self, name: str) -> None:
        """Close."""
        if self._of(name) != CLOSED:
            was_open = self._of(name).open_until is not None
            self._set(name, CLOSED)
            if was_open:
                self._log.info("destination_answers_again", destination=name)

    def failed(self, name: str, error: DeliveryError, now: datetime, *, opens_after: int, backoff: Backoff) -> None:
        """Count a failure, and open after so many in a row."""
        before = self._of(name)
        after = before.failed(str(error), now, opens_after=opens_after, backoff=backoff)
        self._set(name, after)
        if after.open_until is not None and before.open_until is None:
            self._log.warning("destination_left_alone", destination=name, failures=after.failures, until=after.open_until.isoformat())

    def _of(self, name: str) -> Breaker:
        return self._breakers.get(name, CLOSED)

    def _set(self, name: str, breaker: Breaker) -> None:
        with self._guard:
            self._breakers[name] = breaker
            told = {n: OpenCircuit(b.failures, b.open_until, b.reason) for n, b in self._breakers.items() if b.open_until is not None}
            write_circuits(self._run, told)
