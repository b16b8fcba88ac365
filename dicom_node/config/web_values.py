"""URLs of other servers as operators write them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-fA-F:.]+\]|[^/?#@:\[\]\s]+)(?::\d{1,5})?(?:/[^?#\s]*)?")


def check_url(value: str) -> str:
    """Check the URL of a server; empty stays empty, a slash at the end goes.

    Raises:
        ValueError: not such a URL.
    """
    if value and _URL.fullmatch(value) is None:
        raise ValueError("a URL is http:// or https://, a host and a path; no user, ? or # (secrets stand in files of their own)")
    return value.rstrip("/")


def is_in_the_clear(url: str) -> bool:
    """Say whether what is sent there goes over a network unencrypted."""
    parts = _URL.fullmatch(url)
    return parts is not None and parts["scheme"] == "http" and not is_this_machine(parts["host"].strip("[]"))


def is_this_machine(host: str) -> bool:
    """Say whether a host is this machine itself, so that what is sent there goes over no network."""
    return host in _LOCAL


Url = Annotated[str, AfterValidator(check_url)]
