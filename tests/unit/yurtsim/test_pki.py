"""Keys of a local site, checked with Python's own TLS stack and with OpenSSL's view of the files."""

import asyncio
import base64
import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yurtsim.pki import Pair, Pki, kubeconfig


def subject(pair: Pair) -> tuple[str, list[str]]:
    """Return user and groups as Kubernetes reads them."""
    name = x509.load_pem_x509_certificate(pair.cert.read_bytes()).subject
    (user,) = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(user.value), [str(group.value) for group in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


async def meet(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bytes:
    """Shake hands over loopback and return what the server then says."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        try:
            return await reader.read()
        finally:
            writer.close()


def serving(pair: Pair, *, clients: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients))
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # a refusal is then part of the handshake
    context.load_cert_chain(pair.cert, pair.key)
    return context


def calling(pair: Pair, *, authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(pair.cert, pair.key)
    return context


async def test_a_node_and_its_hub_meet_under_every_name_of_the_hub(tmp_path: Path) -> None:
    """The hub's certificate holds for its addresses and service names; the node's is accepted from a client."""
    pki = Pki(tmp_path)
    ca = pki.authority().cert
    server, client = serving(pki.hub("n1"), clients=ca), calling(pki.node("n1"), authority=ca)
    for name in ("127.0.0.1", "169.254.2.1", "localhost", "kubernetes.default.svc.cluster.local", "n1"):
        assert await meet(server, client, name) == b"hello"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await meet(server, client, "n2")


async def test_etcd_has_an_authority_of_its_own(tmp_path: Path) -> None:
    """A node's certificate does not open what trusts etcd's authority."""
    pki = Pki(tmp_path)
    etcd = pki.issue("etcd", user="etcd", names=("127.0.0.1",), authority="etcd-ca")
    trusted = pki.authority("etcd-ca").cert
    server = serving(etcd, clients=trusted)
    assert await meet(server, calling(etcd, authority=trusted), "127.0.0.1") == b"hello"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await meet(server, calling(pki.node("n1"), authority=trusted), "127.0.0.1")


def test_names_and_groups_are_those_of_kubernetes(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    assert subject(pki.node("n1")) == ("system:node:n1", ["system:nodes"])
    assert subject(pki.issue("admin", user="yurt-admin", groups=("system:masters",))) == (
        "yurt-admin",
        ["system:masters"],
    )


def test_keys_are_kept_and_closed_to_others(tmp_path: Path) -> None:
    """A second look at the same folder finds the same files, all EC P-256 and readable by their owner alone."""
    first = Pki(tmp_path / "pki")
    first.node("n1")
    first.service_accounts()
    before = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    again = Pki(tmp_path / "pki")
    again.node("n1")
    again.service_accounts()
    assert {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    assert set(before) == {"ca.crt", "ca.key", "node-n1.crt", "node-n1.key", "sa.pub", "sa.key"}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "pki").iterdir()} == {0o600}
    public = x509.load_pem_x509_certificate(before["node-n1.crt"]).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)


def test_a_kubeconfig_is_json_and_complete(tmp_path: Path) -> None:
    """It carries its material inside, so that it works wherever it is copied."""
    pki = Pki(tmp_path)
    pair = pki.node("n1")
    config = json.loads(kubeconfig("https://127.0.0.1:1", ca=pki.authority().cert, pair=pair))
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    user = config["users"][0]["user"]
    assert base64.b64decode(user["client-certificate-data"]) == pair.cert.read_bytes()
    assert base64.b64decode(user["client-key-data"]) == pair.key.read_bytes()
    bare = json.loads(kubeconfig("http://127.0.0.1:1"))
    assert bare["users"][0]["user"] == {}
    assert bare["clusters"][0]["cluster"] == {"server": "http://127.0.0.1:1"}
