"""Where an answer may lead: not out of an encrypted connection, and not from the world into the
network that this machine is in.
"""

from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

MOST_REDIRECTS = 10


class Misled(Exception):
    """An answer leads where nobody should follow."""


def led_to(address: str, location: str) -> str:
    """The address that an answer from another leads to.

    >>> led_to("https://hub.org/a/b", "/c"), led_to("http://localhost/a", "http://127.0.0.1/b")
    ('https://hub.org/c', 'http://127.0.0.1/b')
    >>> led_to("https://hub.org/a/b", "http://hub.org/c?signature")
    Traceback (most recent call last):
    trajhelpers.sources.hub.redirects.Misled: leads to http://hub.org, which is not encrypted
    """
    here = urlsplit(address)
    try:
        target = urljoin(address, location)
        there = urlsplit(target)
        port = there.port
    except ValueError:
        raise Misled("leads to what is no address") from None
    if there.scheme not in ("https", "http") or not there.hostname:
        raise Misled(f"leads to {there.scheme}:, which is no web address")
    # No more of it: what follows may be a signature.
    shown = f"leads to {there.scheme}://{there.hostname}" + (f":{port}" if port else "")
    if there.scheme == "http" and here.scheme == "https":
        raise Misled(f"{shown}, which is not encrypted")
    if _is_near(there) and not _is_near(here):
        raise Misled(f"{shown}, which is in a network of its own")
    return target


def same_server(one: str, other: str) -> bool:
    """Whether both are at one host, port and scheme."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _is_near(parts: SplitResult) -> bool:
    """Whether a host is in this machine or its network, as it is written: no name is looked up."""
    host = parts.hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
