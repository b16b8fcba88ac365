"""What comes in, counted. Labels hold AE titles of admitted peers, reasons and statuses; never what a stranger sent.

Under `serve` every process keeps its values in files below `run/metrics`, where `top` and others add them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)

_instances = Counter("dicom_node_received_instances_total", "Instances acknowledged.", ["peer"])
_bytes = Counter("dicom_node_received_bytes_total", "Bytes of acknowledged data sets.", ["peer"])
_refused = Counter("dicom_node_refused_instances_total", "Instances answered with a failure status.", ["peer", "status"])
_rejected = Counter("dicom_node_rejected_associations_total", "Associations rejected.", ["reason"])
_durable = Histogram(
    "dicom_node_receive_durable_seconds", "From the last byte of an instance to its being durable.", ["peer"], buckets=_LATENCY_S
)
_open = Gauge("dicom_node_open_associations", "Associations open now.", ["peer"], multiprocess_mode="livesum")


@lru_cache(maxsize=1024)
def of_peer(calling_ae_title: str) -> PeerMetrics:
    """Return the counters of an admitted peer, whichever way it sends."""
    return PeerMetrics(calling_ae_title)


class PeerMetrics:
    """What is counted for one peer, looked up once."""

    def __init__(self, peer: str) -> None:
        """Take the label; use `of_peer`."""
        self._peer = peer
        self._instances, self._bytes, self._durable = _instances.labels(peer), _bytes.labels(peer), _durable.labels(peer)
        self._open = _open.labels(peer)

    def stored(self, size_bytes: int, durable_after_s: float) -> None:
        """Count an acknowledged instance."""
        self._instances.inc()
        self._bytes.inc(size_bytes)
        self._durable.observe(durable_after_s)

    def stored_several(self, size_bytes: int, durable_after_s: Sequence[float]) -> None:
        """Count acknowledged instances, together of a size, each with the time it took to become durable."""
        self._instances.inc(len(durable_after_s))
        self._bytes.inc(size_bytes)
        for seconds in durable_after_s:
            self._durable.observe(seconds)

    def refused(self, status: int) -> None:
        """Count a refused instance."""
        _refused.labels(self._peer, f"{status:04X}").inc()

    def opened(self) -> None:
        """Count an association in."""
        self._open.inc()

    def closed(self) -> None:
        """Count an association out."""
        self._open.dec()


def association_rejected(reason: str) -> None:
    """Count a rejected association."""
    _rejected.labels(reason).inc()
