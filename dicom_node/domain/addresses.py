"""Addresses that peers come from, as operators write them."""

from __future__ import annotations

import ipaddress

LOCALHOST = "localhost"


def network_problem(text: str) -> str:
    """Say what is wrong with the place a peer sends from; empty if nothing is."""
    if text == LOCALHOST:
        return ""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is no address, CIDR or `localhost`; host names are not looked up for access control"
    return ""


def is_one_place(text: str) -> bool:
    """Say whether the place a peer sends from is one that can be called as well: an address or `localhost`, no CIDR."""
    return text == LOCALHOST or "/" not in text


def is_address(text: str) -> bool:
    """Say whether a text is an address or `localhost`, not a name to be looked up."""
    return not network_problem(text) and is_one_place(text)


def is_within(address: str, network: str) -> bool:
    """Say whether an address lies in a place.

    Args:
        address: IPv4 or IPv6, an IPv4 address in IPv6 form counts as IPv4; anything else lies nowhere.
        network: Address, CIDR or `localhost`, checked by `network_problem`.
    """
    try:
        sender = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(sender, ipaddress.IPv6Address) and sender.ipv4_mapped:
        sender = sender.ipv4_mapped
    if network == LOCALHOST:
        return sender.is_loopback
    return sender in ipaddress.ip_network(network, strict=False)
