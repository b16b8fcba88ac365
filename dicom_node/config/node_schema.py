"""Schema of node.yaml. Every option has a description; docs and the example file are checked against it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from dicom_node.config.arrivals_schema import StowSection, WatchSection
from dicom_node.config.destinations_schema import DestinationSection
from dicom_node.config.notices_schema import NotificationsSection
from dicom_node.config.peer_schema import CalledAeTitle, Peer
from dicom_node.config.profiles_schema import ProfileSection
from dicom_node.config.results_schema import ResultsSection
from dicom_node.config.section import Section
from dicom_node.config.sources_schema import FetchSection, QuerySourceSection
from dicom_node.config.tls_schema import ServerTlsSection
from dicom_node.config.values import AeTitle, Duration, OffPeakHours, Port, Size, TimeZone
from dicom_node.domain.durability import Durability
from dicom_node.domain.queue_order import QueueOrder, hours_from_text


class DicomSection(Section):
    """The receiving side."""

    host: str = Field("0.0.0.0", description="Address to listen on.", examples=["0.0.0.0"])  # noqa: S104 - a PACS must reach it
    port: Port = Field(11112, description="TCP port to listen on.")
    receivers: int = Field(0, ge=0, le=32, description="Receiver processes that share the port; 0 takes one a core, at most four.")
    max_associations: int = Field(100, ge=1, le=1000, description="Associations open at once on the node.")
    max_pdu_bytes: int = Field(131072, ge=4096, le=1 << 24, description="Largest PDU announced to senders, bytes.")
    acse_timeout: Duration = Field(timedelta(seconds=30), description="Longest wait for an association request, ARTIM.")
    network_timeout: Duration = Field(timedelta(seconds=120), description="Longest silence on an open association.")
    durability: Durability = Field(
        Durability.STRICT,
        description="What has happened before success is answered: `strict` (file and folder synced), `group` (the same, syncs shared by "
        "associations), `none` (a power cut may lose the last half minute).",
    )
    max_instance: Size = Field(0, description="Larger instances are refused with A700; 0 is no limit.")
    min_free: Size = Field(
        2 << 30, description="Below this much free space on data_dir instances are refused with A700 until there is more."
    )
    tls: ServerTlsSection | None = Field(None, description="TLS listener; absent: plain DICOM only.")


class WorkersSection(Section):
    """The processes that run models."""

    count: int = Field(0, ge=0, le=64, description="Worker processes; each runs one job at a time. 0: one a GPU, and one without any.")
    threads: int = Field(0, ge=0, le=256, description="Threads per worker; 0 takes what the machine has.")
    lease: Duration = Field(timedelta(seconds=60), description="A job whose worker gave no sign for this long is given to another.")
    max_attempts: int = Field(12, ge=1, le=20, description="Attempts before a job fails visibly.")
    model_attempts: int = Field(2, ge=1, le=20, description="Attempts before a job fails whose model hung, crashed or ran out of memory.")
    time_limit: Duration = Field(
        timedelta(minutes=10),
        description="A model is stopped that takes longer for one job; `resources.time_limit` of its bundle goes first.",
    )
    memory_limit: Size = Field(
        8 << 30,
        description="Memory that a model may take for one job beside what it takes when loaded; `resources.memory` of its bundle goes "
        "first; 0 is no limit.",
    )
    model_memory: Size = Field(
        4 << 30, description="Models that stay loaded in a worker take this much together; those not used for longest go first."
    )
    read_ahead: Size = Field(
        2 << 30, description="Images of the next job are read ahead unless they take more memory than this; 0 reads nothing ahead."
    )
    verify_engines: bool = Field(
        default=True,
        description="Engines of loaded models that are here and have no record are built and verified in a process apart, at the lowest "
        "priority; `false`: by `models build` only.",
    )
    off_peak: tuple[OffPeakHours, ...] = Field(
        ("20:00-06:00",), description="Hours of off-peak jobs, as `20:00-06:00` or `sat-sun 00:00-24:00`; empty: any hour."
    )
    time_zone: TimeZone = Field("", description="Time zone of `off_peak`, as `Europe/Berlin`; empty: the machine's.")
    normal_overdue: Duration = Field(timedelta(minutes=30), description="A normal job that waited this long gets turns among stat jobs.")
    off_peak_overdue: Duration = Field(timedelta(hours=24), description="An off-peak job that waited this long runs at any hour.")
    stat_in_a_row: int = Field(3, ge=1, le=1000, description="After this many stat jobs in a row an overdue job has its turn.")

    def to_queue_order(self) -> QueueOrder:
        """Return the order of jobs."""
        return QueueOrder(
            tuple(hours_from_text(text) for text in self.off_peak),
            ZoneInfo(self.time_zone) if self.time_zone else None,
            self.normal_overdue,
            self.off_peak_overdue,
            self.stat_in_a_row,
        )


class DeliverySection(Section):
    """Retries towards destinations."""

    retry_first: Duration = Field(timedelta(seconds=5), description="Wait after the first failed attempt.")
    retry_factor: float = Field(2.0, ge=1.0, le=10.0, description="Each further wait is this many times longer.")
    retry_max: Duration = Field(timedelta(minutes=10), description="Longest wait between attempts.")
    max_attempts: int = Field(
        0, ge=0, le=100_000, description="After so many failed attempts a delivery is given up (DEAD); 0 is no limit."
    )
    max_age: Duration = Field(timedelta(days=7), description="A delivery owed for longer is given up (DEAD) at its next failed attempt.")
    breaker_failures: int = Field(
        3,
        ge=1,
        le=1000,
        description="After so many failed associations in a row nothing is sent to a destination before it answers C-ECHO.",
    )
    commit_overdue: Duration = Field(timedelta(hours=1), description="A commitment not reported for so long is shown as overdue.")


class ReportToSection(Section):
    """Where a peer takes the results of its commitment requests."""

    ae_title: AeTitle = Field(description="Calling AE title of the requests; called by the reports.")
    host: str = Field(min_length=1, description="Address or host name the peer listens on.")
    port: Port = Field(description="TCP port the peer listens on.")
    timeout: Duration = Field(timedelta(seconds=30), description="Longest wait for a connection or the answer to a report.")


class CommitmentSection(Section):
    """Storage commitment and availability notices for peers."""

    max_references: int = Field(20_000, ge=1, le=1_000_000, description="A request that names more instances is refused with 0213.")
    report_to: tuple[ReportToSection, ...] = Field(
        (), description="Where results are reported when the association that asked is closed; peers not named hear only on that one."
    )


class WebSection(Section):
    """The HTTP side: STOW-RS, and /healthz for load balancers."""

    enabled: bool = Field(default=False, description="Listen for HTTP.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8080, description="TCP port.")


class LoggingSection(Section):
    """Logs on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level written.")
    format: Literal["logfmt", "json"] = Field("logfmt", description="key=value or JSON lines.")


class NodeFile(Section):
    """The whole of node.yaml."""

    ae_title: AeTitle = Field(description="AE title of this node, called by senders and calling towards destinations.")
    dicom: DicomSection = Field(default_factory=DicomSection, description="Receiving side.")
    data_dir: Path = Field(description="Folder for instances, results and run-time files.")
    database: str = Field(pattern=r"^(sqlite:///|postgresql\+psycopg://).+", description="Where state is kept, as an SQLAlchemy URL.")
    called_ae_titles: tuple[CalledAeTitle, ...] = Field((), description="Further titles of this node, each with a policy of its own.")
    peers: tuple[Peer, ...] = Field((), description="Who may send; nobody else is admitted.")
    destinations: tuple[DestinationSection, ...] = Field((), description="Where results may go.")
    profiles: tuple[ProfileSection, ...] = Field((), description="Result profiles beside the presets.")
    query_sources: tuple[QuerySourceSection, ...] = Field((), description="Where studies can be asked for and fetched from.")
    fetch: FetchSection = Field(default_factory=FetchSection, description="What the node asks of query sources by itself.")
    rules: Path = Field(Path("rules.yaml"), description="Routing rules, relative to this file.")
    models_dir: Path = Field(Path("models"), description="Folder with a folder or a zip for each model bundle, relative to this file.")
    workers: WorkersSection = Field(default_factory=WorkersSection, description="Model processes.")
    delivery: DeliverySection = Field(default_factory=DeliverySection, description="Retries.")
    results: ResultsSection = Field(default_factory=ResultsSection, description="Results on disk.")
    commitment: CommitmentSection = Field(default_factory=CommitmentSection, description="Storage commitment for peers.")
    web: WebSection = Field(default_factory=WebSection, description="HTTP side.")
    stow: StowSection = Field(default_factory=StowSection, description="STOW-RS.")
    watch: tuple[WatchSection, ...] = Field((), description="Folders whose files are imported.")
    notifications: NotificationsSection = Field(default_factory=NotificationsSection, description="Who is told of what, and how.")
    logging: LoggingSection = Field(default_factory=LoggingSection, description="Logs.")
    drain_timeout: Duration = Field(
        timedelta(seconds=60), description="On stop, how long open associations and running jobs may take to end."
    )

    @property
    def uses_tls(self) -> bool:
        """Whether any section is about TLS."""
        return bool(self.dicom.tls or any(d.tls for d in self.destinations) or any(p.tls_subject for p in self.peers))
