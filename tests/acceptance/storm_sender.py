"""Sixteen associations of one process, each storing its instances one after the other and again what got no answer.

Run as `python -m tests.acceptance.storm_sender PORT NUMBER INSTANCES FILE`; writes what was acknowledged and what was sent again.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from time import monotonic

from tests.integration.raw_peer import RawPeer, data_set, status_of, store

ASSOCIATIONS = 16
AE_TITLES = [f"SENDER{n}" for n in range(8)]
_LIMIT_S = 90
pause = threading.Event()


def content_of(uid: str) -> bytes:
    """The data set of an instance; both ends make it from its UID."""
    return data_set(uid, 2000 + int(uid.rsplit(".", 1)[1]) % 7 * 1000)


class Sender(threading.Thread):
    """One association at a time."""

    def __init__(self, port: int, ae_title: str, uids: list[str]) -> None:
        super().__init__()
        self._port, self._ae_title, self._left = port, ae_title, uids
        self.acknowledged: list[str] = []
        self.unanswered: list[str] = []

    def run(self) -> None:
        deadline = monotonic() + _LIMIT_S
        while self._left and monotonic() < deadline:
            try:
                with RawPeer(self._port) as peer:
                    if peer.associate(calling=self._ae_title)[:1] != b"\2":
                        pause.wait(0.05)
                        continue
                    self._send(peer)
                    peer.release()
            except OSError:
                pause.wait(0.05)

    def _send(self, peer: RawPeer) -> None:
        while self._left:
            uid, answer = self._left[-1], b""
            try:
                peer.send(store(uid, content_of(uid)))
                answer = peer.receive()
            finally:
                if not answer:
                    self.unanswered.append(uid)
            if not answer:
                return
            assert status_of(answer) == 0
            self.acknowledged.append(self._left.pop())


def main(port: int, number: int, instances: int, report: Path) -> None:
    senders = [
        Sender(port, AE_TITLES[n % len(AE_TITLES)], [f"1.2.{number}.{n}.{i}" for i in range(n, instances, ASSOCIATIONS)])
        for n in range(ASSOCIATIONS)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    acknowledged = [uid for sender in senders for uid in sender.acknowledged]
    unanswered = [uid for sender in senders for uid in sender.unanswered]
    report.write_text(json.dumps({"acknowledged": acknowledged, "unanswered": unanswered}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
