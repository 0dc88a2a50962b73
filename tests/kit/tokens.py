"""A cluster's issuer of service-account tokens: real keys, and every way to get a token wrong."""

import base64
import json
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Algorithm = Literal["RS256", "PS256", "ES256", "ES384"]
ISSUER = "https://kubernetes.default.svc.cluster.local"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


class Issuer:
    """Signs by one key of its own."""

    def __init__(self, algorithm: Algorithm = "ES256", *, key_id: str = "k1", issuer: str = ISSUER) -> None:
        self.algorithm, self.key_id, self.issuer = algorithm, key_id, issuer
        curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}.get(algorithm)
        self.key = ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048)

    def jwk(self, **changes: Any) -> dict[str, Any]:
        numbers: Any = self.key.public_key().public_numbers()
        jwk = {"use": "sig", "kid": self.key_id, "alg": self.algorithm}
        if isinstance(self.key, rsa.RSAPrivateKey):
            jwk |= {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        else:
            size = self.key.curve.key_size // 8
            jwk |= {"kty": "EC", "crv": f"P-{size * 8}", "x": _number(numbers.x, size), "y": _number(numbers.y, size)}
        return {key: value for key, value in {**jwk, **changes}.items() if value is not None}

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            return self.key.sign(data, pss if self.algorithm == "PS256" else padding.PKCS1v15(), hashes.SHA256())
        size = self.key.curve.key_size // 8
        digest = hashes.SHA256() if size == 32 else hashes.SHA384()
        return b"".join(n.to_bytes(size) for n in decode_dss_signature(self.key.sign(data, ec.ECDSA(digest))))

    def token(self, *, account: tuple[str, str] = ("a", "b"), head: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token as kube-apiserver makes it; a claim or header field of None is left out."""
        namespace, name = account
        body = {
            "aud": [self.issuer],
            "exp": 2_000_000_000,
            "iat": 1_600_000_000,
            "iss": self.issuer,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "u"}},
            "nbf": 1_600_000_000,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            **claims,
        }
        top = {"alg": self.algorithm, "kid": self.key_id, **(head or {})}
        parts = ({k: v for k, v in part.items() if v is not None} for part in (top, body))
        signed = ".".join(b64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{b64(self.sign(signed.encode()))}"
