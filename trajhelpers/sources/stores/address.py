"""Addresses in stores: s3://BUCKET/PREFIX, gs://, az://, abfs://, https://HOST/FILE.

An address may hold a key: a user and password, or a signature behind a question mark. What is shown
has neither.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

KINDS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "azure", "abfs", "abfss", "adl"), "az"),
    **dict.fromkeys(("https", "http"), "https"),
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_EXPECTED = {"s3": "s3://BUCKET/PREFIX", "gs": "gs://BUCKET/PREFIX", "az": "az://CONTAINER/PREFIX"}


@dataclass(frozen=True)
class Address:
    """``root`` is what a client is made for, a bucket or a host, without secrets; ``path`` is below
    it and has no slash at its ends.
    """

    kind: str
    root: str
    path: str
    # A web server's address as it was given, but for the path.
    query: str = field(default="", repr=False)
    user: tuple[str, str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root

    @property
    def host(self) -> str:
        """The bucket, container or host."""
        return self.root.partition("://")[2]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


def is_in_a_store(source: Any) -> bool:
    """Whether a source is an address, or a list of addresses, in a store.

    >>> is_in_a_store("s3://bucket/run"), is_in_a_store(["https://host/a.pt"]), is_in_a_store("run")
    (True, True, False)
    """
    if isinstance(source, Sequence) and not isinstance(source, str):
        return any(map(is_in_a_store, source))
    match = _SCHEME.match(source) if isinstance(source, str) else None
    return match is not None and match[1].lower() in KINDS


def address_of(source: Any) -> Address:
    """
    >>> str(address_of("https://me:secret@host/run/a.pt?signature=secret"))
    'https://host/run/a.pt'
    """
    if not is_in_a_store(source):
        raise ValueError(
            f"{source}: is not in a store, as others of the list are (s3://, gs://, az://,"
            " https://); give addresses of one kind"
        )
    scheme, _, rest = source.partition("://")
    kind = KINDS[scheme.lower()]
    if kind == "https":
        return _of_a_server(source)
    bucket, _, path = rest.partition("/")
    if not bucket:
        raise ValueError(f"{source}: names no bucket; expected {_EXPECTED[kind]}")
    return Address(kind, f"{scheme.lower()}://{bucket}", path.strip("/"))


def shown(source: Any) -> str:
    """A source as messages may call it: an address without what is secret in it.

    >>> shown("https://host/a.pt?signature=secret"), shown("runs/digits")
    ('https://host/a.pt', 'runs/digits')
    """
    if isinstance(source, (list, tuple)):
        return ", ".join(map(shown, source))
    return str(address_of(source)) if is_in_a_store(source) else str(source)


def _of_a_server(source: str) -> Address:
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise ValueError("a web address names no host; expected https://HOST/PATH")
    shown = f"[{host}]" if ":" in host else host
    root = f"{parts.scheme}://{shown}" + (f":{port}" if port else "")
    if host in ("huggingface.co", "hf.co", "www.huggingface.co"):
        named = re.match(r"/(?:models/)?((?:buckets/)?[\w.-]+/[\w.-]+)", parts.path)
        raise ValueError(
            f"{root}{parts.path}: is on the hub; give it as"
            f" hf://{named[1] if named else 'OWNER/NAME'}"
        )
    if parts.scheme == "http" and not is_this_machine(host):
        raise ValueError(
            f"{root}{parts.path}: is http://, where anyone on the way can change what arrives; give"
            " https://"
        )
    user = (
        (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
    )
    return Address("https", root, unquote(parts.path).strip("/"), parts.query, user)


def is_this_machine(host: str | None) -> bool:
    """Whether a host is this machine by its name.

    >>> is_this_machine("localhost"), is_this_machine("127.0.0.1"), is_this_machine("example.org")
    (True, True, False)
    """
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
