"""The sender's main loop."""

from __future__ import annotations

from datetime import UTC, datetime

from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.wakeup import Wakeup
from dicom_node.pipeline.notifying import NotifierThread
from dicom_node.pipeline.process import Process, run_turns, seconds_until
from dicom_node.pipeline.reporter import Reporter
from dicom_node.pipeline.sender import Sender
from dicom_node.storage import Database


def run(process: Process) -> None:
    """Deliver until told to stop; sends under way are finished first."""
    files, database = process.files, Database(process.configuration.node.database)
    with Wakeup(files.run, process.name) as bell:
        lifecycle = Lifecycle(bell.ring_self)
        sender = Sender(process.configuration, database, bell.ring_self)
        reporter = Reporter(process.configuration, database, files, bell.ring_self)
        notifier = NotifierThread(process.configuration, database)

        def turn() -> float:
            if lifecycle.take_reload():
                configuration = process.reload()
                sender.reconfigure(configuration)
                reporter.reconfigure(configuration)
                notifier.reconfigure(configuration)
            sender.start_due(datetime.now(UTC))
            reporter.start_due(datetime.now(UTC))
            notifier.look()
            return min(seconds_until(sender.next_due()), seconds_until(reporter.next_due()))

        run_turns(lifecycle, bell, turn)
        sender.close()
        reporter.close()
        notifier.stop()
    database.close()
