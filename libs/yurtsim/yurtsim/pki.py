"""Keys and certificates of one local site, in its state folder.

One authority (`ca`) signs the API server's certificate, the components', each
node's and each hub's; etcd has an authority of its own, because whoever may open
etcd owns the cluster and a node's certificate must not be enough. Everything is EC
P-256, files are 0600, what exists is used again. For simulation and tests only:
certificates hold for a year and nothing rotates them.
"""

import base64
import datetime as dt
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from yurtcore.adapters.files import write_atomic

_HOLDS = dt.timedelta(days=365)
_SKEW = dt.timedelta(hours=1)
_PEM = serialization.Encoding.PEM

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
HUB_NAMES = (
    "127.0.0.1",
    "169.254.2.1",  # the address that pods reach their node's hub at
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files in PEM."""

    cert: Path
    key: Path


class Pki:
    """The keys in `folder`; every method makes what is not there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def authority(self, name: str = "ca") -> Pair:
        """Return the self-signed authority `name`."""
        pair = self._pair(name)
        if not _there(pair):
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"yurt-{name}")])
            builder = _builder(subject, subject, key.public_key())
            usage = _usage(digital_signature=True, key_cert_sign=True, crl_sign=True)
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            self._keep(pair, key, builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()))
        return pair

    def issue(
        self,
        file: str,
        *,
        user: str,
        groups: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
        authority: str = "ca",
    ) -> Pair:
        """Return the certificate kept as `file`, for client use, and for servers too if it has `names`.

        `user` and `groups` are what Kubernetes reads from the subject (CN, O); `names`
        are DNS names and IP addresses.
        """
        pair = self._pair(file)
        if _there(pair):
            return pair
        ca = self.authority(authority)
        ca_cert = x509.load_pem_x509_certificate(ca.cert.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        builder = _builder(x509.Name(subject), ca_cert.subject, key.public_key())
        builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if names:
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        self._keep(pair, key, builder.sign(_load_key(ca.key), hashes.SHA256()))
        return pair

    def node(self, name: str) -> Pair:
        """Return the client certificate of node `name`'s kubelet (`system:node:NAME` in `system:nodes`)."""
        return self.issue(f"node-{name}", user=NODE_PREFIX + name, groups=(NODES_GROUP,))

    def hub(self, name: str) -> Pair:
        """Return the serving certificate of the hub on node `name`."""
        return self.issue(f"hub-{name}", user=f"yurt-hub-{name}", names=(*HUB_NAMES, name))

    def service_accounts(self) -> Pair:
        """Return the key pair of service-account tokens; `cert` is the bare public key."""
        pair = Pair(self.folder / "sa.pub", self.folder / "sa.key")
        if not _there(pair):
            key = ec.generate_private_key(ec.SECP256R1())
            public = key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            self._write(pair, key, public)
        return pair

    def _pair(self, name: str) -> Pair:
        return Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def _keep(self, pair: Pair, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        self._write(pair, key, cert.public_bytes(_PEM))

    def _write(self, pair: Pair, key: ec.EllipticCurvePrivateKey, public: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # PKCS#1-like form ("EC PRIVATE KEY"): what every Go release reads for signing keys too.
        form = serialization.PrivateFormat.TraditionalOpenSSL
        write_atomic(pair.key, key.private_bytes(_PEM, form, serialization.NoEncryption()), mode=0o600)
        write_atomic(pair.cert, public, mode=0o600)


def kubeconfig(server: str, *, ca: Path | None = None, pair: Pair | None = None, token: str | None = None) -> bytes:
    """Return a kubeconfig for `server` as JSON (which is YAML too), with all material embedded."""
    cluster: dict[str, str] = {"server": server}
    user: dict[str, str] = {}
    if ca is not None:
        cluster["certificate-authority-data"] = _inline(ca)
    if pair is not None:
        user |= {"client-certificate-data": _inline(pair.cert), "client-key-data": _inline(pair.key)}
    if token is not None:
        user["token"] = token
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "yurt", "cluster": cluster}],
        "users": [{"name": "yurt", "user": user}],
        "contexts": [{"name": "yurt", "context": {"cluster": "yurt", "user": "yurt"}}],
        "current-context": "yurt",
    }
    return json.dumps(config, indent=1).encode()


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _there(pair: Pair) -> bool:
    return pair.cert.exists() and pair.key.exists()


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _HOLDS)
    )


def _usage(*, digital_signature: bool, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no EC key")
    return key
