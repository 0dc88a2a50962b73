"""The TLS door: what each kind of client certificate proves, and serving files that change under way."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiofastnet
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from structlog.testing import capture_logs
from yurt_hub.adapters import certs
from yurt_hub.adapters.doors import SecureDoor, subject
from yurtcore.errors import BadInput
from yurtsim.pki import Pair, Pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def door(pki: Pki) -> SecureDoor:
    pair = pki.hub("n1")
    return SecureDoor(certs.serving_context(pair.cert, pair.key, pki.authority().cert), "n1")


class Greeted(asyncio.Protocol):
    """Answers each connection with what it proved."""

    def __init__(self, door: SecureDoor, group: asyncio.TaskGroup) -> None:
        self._door, self._group = door, group

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._group.create_task(self._answer(transport))  # type: ignore[arg-type]

    async def _answer(self, transport: asyncio.Transport) -> None:
        shown = await self._door.greet(transport)
        transport.write(shown.value.encode())
        transport.close()


@asynccontextmanager
async def opened(door: SecureDoor) -> AsyncIterator[int]:
    async with asyncio.TaskGroup() as group:
        server = await aiofastnet.create_server(
            asyncio.get_running_loop(), lambda: Greeted(door, group), "127.0.0.1", 0, ssl=door.ssl
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


async def shown(port: int, pki: Pki, pair: Pair | None = None, *, protocols: list[str] | None = None) -> str:
    """Connect with a client certificate, or none, and say what the door saw and which protocol was agreed."""
    context = ssl.create_default_context(cafile=pki.authority().cert)
    context.set_alpn_protocols(protocols or ["http/1.1"])
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    async with asyncio.timeout(10):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            seen = await reader.read()
            agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        except (ssl.SSLError, ConnectionError):
            return "no handshake"
        writer.close()
        return f"{seen.decode()} {agreed}" if seen else "no handshake"


async def test_the_kubelets_own_certificate_makes_its_caller_the_node(pki: Pki, door: SecureDoor) -> None:
    async with opened(door) as port:
        assert await shown(port, pki, pki.node("n1")) == "node http/1.1"


async def test_without_a_certificate_nothing_is_shown(pki: Pki, door: SecureDoor) -> None:
    async with opened(door) as port:
        assert await shown(port, pki) == "nothing http/1.1"


async def test_hub_083_another_nodes_certificate_is_foreign(pki: Pki, door: SecureDoor) -> None:
    async with opened(door) as port:
        assert await shown(port, pki, pki.node("n2")) == "foreign http/1.1"
        assert (
            await shown(port, pki, pki.issue("admin", user="admin", groups=("system:masters",))) == "foreign http/1.1"
        )
        lone = pki.issue("lone", user="system:node:n1")
        assert await shown(port, pki, lone) == "foreign http/1.1"


async def test_http_2_is_not_offered(pki: Pki, door: SecureDoor) -> None:
    async with opened(door) as port:
        assert await shown(port, pki, protocols=["h2", "http/1.1"]) == "nothing http/1.1"


async def test_a_certificate_of_another_authority_ends_the_handshake(
    pki: Pki, door: SecureDoor, tmp_path: Path
) -> None:
    stranger = Pki(tmp_path).node("n1")
    async with opened(door) as port:
        assert await shown(port, pki, stranger) == "no handshake"


async def test_a_serving_certificate_of_the_node_proves_nothing(pki: Pki, door: SecureDoor, tmp_path: Path) -> None:
    """The kubelet's certificate for its own port bears the node's name too, but is not made for clients."""
    pair = serving_only(pki, tmp_path, "system:node:n1", "system:nodes")
    async with opened(door) as port:
        assert await shown(port, pki, pair) == "no handshake"


def serving_only(pki: Pki, folder: Path, name: str, group: str) -> Pair:
    authority = pki.authority()
    signer = x509.load_pem_x509_certificate(authority.cert.read_bytes())
    signing = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder(signer.subject, x509.Name(names), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(signing, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.TraditionalOpenSSL
    pair = Pair(folder / "serving.crt", folder / "serving.key")
    pair.cert.write_bytes(cert.public_bytes(pem))
    pair.key.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return pair


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        (None, (None, ())),
        ({}, ("", [])),
        ({"subject": ((("organizationName", "o"),), (("commonName", "a"),))}, ("a", ["o"])),
        ({"subject": ((("commonName", "a"), ("commonName", "b")),)}, ("", [])),
    ],
)
def test_a_certificate_with_several_names_has_none(
    certificate: dict[str, object] | None, expected: tuple[object, object]
) -> None:
    assert subject(certificate) == expected


async def test_a_replaced_serving_pair_is_used_for_new_connections(pki: Pki, tmp_path: Path) -> None:
    """Both files are replaced one after the other; between the two the former pair goes on serving."""
    cert, key, ca = tmp_path / "tls.crt", tmp_path / "tls.key", pki.authority().cert
    old, new = pki.hub("old"), pki.hub("new")
    cert.write_bytes(old.cert.read_bytes())
    key.write_bytes(old.key.read_bytes())
    context = certs.serving_context(cert, key, ca)
    watched = certs.Watched((cert, key, ca), lambda: certs.renew(context, cert, key, ca))

    async def serving() -> str:
        async with opened(SecureDoor(context, "n1")) as port:
            client = ssl.create_default_context(cafile=ca)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            peer = writer.get_extra_info("peercert")
            assert await reader.read() == b"nothing"
            writer.close()
            return next(value for part in peer["subject"] for name, value in part if name == "commonName")

    with capture_logs() as lines:
        watched.look()
        assert await serving() == "yurt-hub-old"
        replace(cert, new.cert.read_bytes())
        watched.look()
        watched.look()
        assert await serving() == "yurt-hub-old"
        replace(key, new.key.read_bytes())
        watched.look()
        assert await serving() == "yurt-hub-new"
        watched.look()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("certificates.unusable", "warning"),
        ("certificates.unusable", "debug"),
        ("certificates.renewed", "info"),
    ]


def replace(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(file)


def test_wrong_files_are_told_in_one_line(pki: Pki, tmp_path: Path) -> None:
    one, two, ca = pki.hub("n1"), pki.node("n1"), pki.authority()
    text = tmp_path / "text"
    text.write_text("no certificate")
    for call, words in [
        (lambda: certs.check_authorities(tmp_path / "absent"), "cannot read"),
        (lambda: certs.check_authorities(text), "holds no PEM certificate"),
        (lambda: certs.check_pair(one.cert, two.key, flags="--f"), "do not belong together"),
        (lambda: certs.check_pair(text, two.key, flags="--f"), "are not a PEM certificate and key"),
        (lambda: certs.check_pair(one.cert, ca.cert, flags="--f"), "are not a PEM certificate and key"),
        (lambda: certs.check_pair(tmp_path / "absent", two.key, flags="--f"), "No such file"),
    ]:
        with pytest.raises(BadInput, match=words) as told:
            call()
        assert "\n" not in str(told.value)
    certs.check_pair(one.cert, one.key, flags="--f")
    certs.check_authorities(ca.cert)


def test_an_encrypted_key_is_refused_and_does_not_ask(pki: Pki, tmp_path: Path) -> None:
    pair = pki.hub("n1")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    form = serialization.PrivateFormat.PKCS8
    cipher = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, cipher))
    with pytest.raises(BadInput, match="without a password"):
        certs.check_pair(pair.cert, locked, flags="--f")
