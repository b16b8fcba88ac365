"""Sections of node.yaml about archives: where they are, and how much the node asks of them by itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from dicom_node.config.section import Section
from dicom_node.config.values import AeTitle, Duration, Name, Port
from dicom_node.config.web_values import Url, is_in_the_clear
from dicom_node.domain.sources import QuerySource, Retrieval, Source, WebSource

_DIMSE_ONLY = ("ae_title", "host", "port")
_WEB_ONLY = ("token_file", "ca")


class QuerySourceSection(Section):
    """Where studies can be asked for and fetched from: by DIMSE (`ae_title`, `host`, `port`) or by DICOMweb (`url`)."""

    name: Name = Field(description="Name for `query`, `fetch`, rules and lists.")
    ae_title: AeTitle | None = Field(None, description="Called AE title of the Query/Retrieve SCP.")
    host: str = Field("", description="Address or host name of the Query/Retrieve SCP.")
    port: Port | None = Field(None, description="TCP port of the Query/Retrieve SCP.")
    url: Url = Field("", description="DICOMweb instead of DIMSE: what `/studies` is put behind.")
    token_file: Path | None = Field(None, description="With `url`: file that holds the bearer token; relative to this file.")
    ca: Path | None = Field(None, description="With `url`: PEM file of the authorities that may have signed its certificate.")
    timeout: Duration = Field(timedelta(seconds=30), description="Longest silence while connecting or waiting for the next message.")
    retrieve: Retrieval = Field(
        Retrieval.GET,
        description="How instances are fetched: `get` (on our own association), or `move` (the source sends them to our receiver).",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.url:
            if named := [option for option in _DIMSE_ONLY if getattr(self, option)]:
                raise ValueError(f"{', '.join(named)} and url: a source is asked either by DIMSE or by DICOMweb")
            if self.retrieve is Retrieval.MOVE:
                raise ValueError("retrieve: move and url: over DICOMweb instances always come on our own connection")
            if self.token_file and is_in_the_clear(self.url):
                raise ValueError("the token would go over the network in the clear: use https")
            return self
        if missing := [option for option in ("ae_title", "host", "port") if not getattr(self, option)]:
            raise ValueError(f"{', '.join(missing)} missing: give ae_title, host and port, or url")
        if named := [option for option in _WEB_ONLY if getattr(self, option)]:
            raise ValueError(f"{', '.join(named)} without url")
        return self

    def below(self, folder: Path) -> Self:
        """Return the section with paths that start at a folder."""
        return self.with_paths_below(folder, *_WEB_ONLY)

    def to_source(self) -> Source:
        """Return what is asked."""
        timeout_s = self.timeout.total_seconds()
        if self.url:
            return WebSource(self.name, self.url, timeout_s, self.token_file, self.ca)
        return QuerySource(self.name, self.ae_title or "", self.host, self.port or 0, timeout_s, self.retrieve)


class FetchSection(Section):
    """What the node asks of query sources by itself, because a rule wants a count, missing instances or a prior."""

    max_parallel: int = Field(2, ge=1, le=16, description="Requests under way at once.")
    max_attempts: int = Field(5, ge=1, le=100, description="Attempts before a request fails; its deadline may end it sooner.")
    retry_first: Duration = Field(
        timedelta(seconds=5), description="Wait after the first failed attempt; each further one is twice as long."
    )
    retry_max: Duration = Field(timedelta(minutes=2), description="Longest wait between attempts.")
    max_instances: int = Field(5000, ge=1, le=1_000_000, description="A request that would bring more instances fails and brings none.")
