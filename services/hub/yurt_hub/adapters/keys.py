"""Checking signatures of tokens; the library for it is loaded when the first token is checked in the dark.

It takes 14 to 27 MB, which a hub whose cloud is there does without.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_CURVES: Final = {"ES256": ("P-256", 32), "ES384": ("P-384", 48)}
_RSA: Final = frozenset({"RS256", "PS256"})
LEAST_BITS: Final = 2048


def proves(key: Mapping[str, Any], algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Say whether `key` (a JWK, RFC 7518) and `algorithm` bear out the signature of `signed`.

    A key for another algorithm, and one that cannot be read, prove nothing.
    """
    if key.get("alg", algorithm) != algorithm:
        return False
    try:
        if algorithm in _RSA and key.get("kty") == "RSA":
            return _rsa(_rsa_key(key), algorithm, signed, signature)
        if algorithm in _CURVES and key.get("kty") == "EC":
            return _ecdsa(key, algorithm, signed, signature)
    except (ValueError, KeyError, TypeError):
        return False
    return False


def _rsa_key(key: Mapping[str, Any]) -> "RSAPublicKey":
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers  # noqa: PLC0415

    made = RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
    if made.key_size < LEAST_BITS:
        raise ValueError("the key is too short")
    return made


def _rsa(key: "RSAPublicKey", algorithm: str, signed: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    pad = padding.PKCS1v15() if algorithm == "RS256" else padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)
    try:
        key.verify(signature, signed, pad, SHA256())
    except InvalidSignature:
        return False
    return True


def _ecdsa(key: Mapping[str, Any], algorithm: str, signed: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384  # noqa: PLC0415

    curve, size = _CURVES[algorithm]
    if key.get("crv") != curve or len(signature) != 2 * size:
        return False
    halves = (int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
    digest = SHA256() if algorithm == "ES256" else SHA384()
    try:
        _ec_key(key).verify(encode_dss_signature(*halves), signed, ECDSA(digest))
    except InvalidSignature:
        return False
    return True


def _ec_key(key: Mapping[str, Any]) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    curve = ec.SECP256R1() if key["crv"] == "P-256" else ec.SECP384R1()
    return ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve).public_key()


def _number(text: str) -> int:
    try:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except binascii.Error as err:
        raise ValueError("not base64url") from err
