"""Answers of stores that are not as they should be, and where web servers lead."""

import datetime
import ipaddress
import os
import ssl

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from safetensors.numpy import save
from standin_store import SECRETS, StandIn, StandInWeb

import trajhelpers as th
from trajhelpers.sources.stores import clients


class OddStore(StandIn):
    """S3 whose lists are ``page``; nothing else is there."""

    page = b""

    def answer(self, request, headers, body):
        return (200, {}, self.page) if "list-type" in request.path else (404, {}, b"")


@pytest.fixture
def store(monkeypatch):
    with OddStore() as store:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        here = {"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "us-east-1"}
        for name, value in (SECRETS | here).items():
            monkeypatch.setenv(name, value)
        yield store


def page(*entries, following=""):
    more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    truncated = f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>"
    return (
        f"<?xml version='1.0'?><ListBucketResult><Name>b</Name>{truncated}{more}"
        f"{''.join(entries)}</ListBucketResult>"
    ).encode()


def entry(key="run/step_1.pt", size="3", when="2026-01-01T00:00:00.000Z"):
    return (
        f"<Contents><Key>{key}</Key><LastModified>{when}</LastModified>"
        f"<ETag>&quot;abc&quot;</ETag><Size>{size}</Size></Contents>"
    )


NO_LIST = "the store answers with something other than a list; check AWS_REGION"
ODD = {
    "nothing": (b"", NO_LIST),
    "a page": (b"<!DOCTYPE html><html>Sign in</html>", "is not there; check"),
    "half": (page(entry())[:90], NO_LIST),
    "JSON": (b"{}", NO_LIST),
    "size negative": (page(entry(size="-3")), NO_LIST),
    "size text": (page(entry(size="x")), NO_LIST),
    "size huge": (page(entry(size="9" * 30)), NO_LIST),
    "a date in words": (page(entry(when="yesterday")), NO_LIST),
    "NUL": (page(entry("run/a&#0;.pt")), NO_LIST),
    "upwards": (page(entry("run/../../a.pt")), "whose name has an empty part"),
    "elsewhere": (page(entry("other/step_1.pt"), entry("other/step_2.pt")), "holds nothing"),
    "twice": (page(entry(), entry(size="4")), "its list has 'run/step_1.pt' twice"),
    # The same for ever.
    "no end": (page(entry(), following="on"), "its list has 'run/step_1.pt' twice"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_list(store, name):
    store.page, words = ODD[name]
    with pytest.raises(th.CheckpointError, match=f"^s3://bucket/run: .*{words}"):
        th.open_trajectory("s3://bucket/run")
    # A thousand objects are given at once.
    assert len(store.requests) <= 1000


# Where a web server leads


def certificate(path):
    """Of this machine, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    here = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(here), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


class Leading(StandInWeb):
    """What ``leads(path)`` names leads there."""

    def leads(self, path):
        return None

    def answer(self, request, headers, body):
        there = self.leads(request.path)
        if there is not None:
            return 302, {"Location": there}, b""
        return super().answer(request, headers, body)


@pytest.fixture
def servers(monkeypatch, tmp_path):
    """With TLS and without, of the same files."""
    made = clients.HTTPStore

    def trusting(address, client_options, **options):
        trusted = client_options | {"allow_invalid_certificates": True}
        return made(address, client_options=trusted, **options)

    monkeypatch.setattr(clients, "HTTPStore", trusting)
    with Leading() as secure, Leading() as plain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(tmp_path / "here.pem"))
        secure._server.socket = context.wrap_socket(secure._server.socket, server_side=True)
        secure.endpoint = secure.endpoint.replace("http:", "https:")
        for step in (1, 2):
            content = save({"a": np.arange(5.0) * step})
            secure.files[f"step_{step}.safetensors"] = content
            plain.files[f"step_{step}.safetensors"] = content
        yield secure, plain


def steps_at(server):
    files = [f"{server.endpoint}/step_{step}.safetensors" for step in (1, 2)]
    return th.gram(th.open_trajectory(files), device="cpu").steps.tolist()


def test_a_redirect_to_another_host_with_tls(servers):
    secure, _ = servers
    there = secure.endpoint.replace("127.0.0.1", "localhost")
    secure.files |= {f"moved/{path}": content for path, content in secure.files.items()}
    secure.leads = lambda path: None if path.startswith("/moved") else f"{there}/moved{path}"
    assert steps_at(secure) == [1, 2]


@pytest.mark.parametrize("to", ["plain", "file:///etc/passwd", "gopher://x/", "itself"])
def test_where_no_web_server_leads_us(servers, to):
    secure, plain = servers
    there = {"plain": plain.endpoint, "itself": ""}.get(to, to)
    secure.leads = lambda path: f"{there}{path}"
    with pytest.raises(th.CheckpointError, match="^https://.*(refuses|cannot be listed).*; "):
        steps_at(secure)
    assert not plain.requests
