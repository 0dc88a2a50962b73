"""Signatures of real keys."""

import subprocess
import sys

import pytest
from kit.tokens import Algorithm, Issuer
from yurt_hub.adapters.keys import proves
from yurt_hub.domain.local.jwks import Keys, read_keys

ISSUERS = {name: Issuer(name) for name in ("RS256", "PS256", "ES256", "ES384")}
DATA = b"head.body"


@pytest.fixture(params=sorted(ISSUERS))
def issuer(request: pytest.FixtureRequest) -> Issuer:
    return ISSUERS[request.param]


def test_a_signature_is_borne_out_by_its_key(issuer: Issuer) -> None:
    signature = issuer.sign(DATA)
    assert proves(issuer.jwk(), issuer.algorithm, DATA, signature)
    assert proves(issuer.jwk(alg=None), issuer.algorithm, DATA, signature)


def test_other_bytes_and_other_keys_are_not(issuer: Issuer) -> None:
    signature = issuer.sign(DATA)
    assert not proves(issuer.jwk(), issuer.algorithm, DATA + b"x", signature)
    assert not proves(issuer.jwk(), issuer.algorithm, DATA, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not proves(issuer.jwk(), issuer.algorithm, DATA, b"")
    assert not proves(issuer.jwk(), issuer.algorithm, DATA, signature + b"\0")
    assert not proves(Issuer(issuer.algorithm).jwk(), issuer.algorithm, DATA, signature)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "HS256", "none", "RS512", ""])
def test_a_key_serves_its_own_algorithm_only(issuer: Issuer, algorithm: Algorithm) -> None:
    if algorithm != issuer.algorithm:
        signature = issuer.sign(DATA)
        assert not proves(issuer.jwk(), algorithm, DATA, signature)
        assert not proves(issuer.jwk(alg=None), algorithm, DATA, signature)


def test_a_key_that_names_its_algorithm_serves_no_other_that_it_could() -> None:
    signature = ISSUERS["PS256"].sign(DATA)
    assert not proves(ISSUERS["PS256"].jwk(alg="RS256"), "PS256", DATA, signature)


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "RSA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": 3, "e": "AQAB"},
        {"kty": "RSA", "n": "a", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"},
        {"kty": "EC", "crv": "P-521", "x": "AQAB", "y": "AQAB"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "oct", "k": "c2VjcmV0"},
    ],
)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_key_that_cannot_be_read_proves_nothing(jwk: dict[str, object], algorithm: str) -> None:
    assert not proves(jwk, algorithm, DATA, bytes(64))


def test_keys_and_issuer_are_read_from_the_clusters_documents() -> None:
    keys = read_keys(b'{"issuer":"https://k"}', b'{"keys":[{"kid":"a"},{"kid":"b","use":"enc"},4,{"kid":"c"}]}', 5.0)
    assert keys == Keys("https://k", ({"kid": "a"}, {"kid": "c"}), 5.0)
    assert keys.fitting("c") == ({"kid": "c"},)
    assert keys.fitting("b") == ()
    assert keys.fitting("") == keys.keys


@pytest.mark.parametrize("document", [None, b"", b"{", b"[]", b'{"issuer":3,"keys":{}}', b"[" * 100_000])
def test_damaged_documents_leave_their_part_empty(document: bytes | None) -> None:
    assert read_keys(document, document, 5.0) == Keys("", (), 5.0)


def test_the_library_is_loaded_with_the_first_check_only() -> None:
    """It takes memory that a hub whose cloud is there does without."""
    code = (
        "import sys; import yurt_hub.adapters.keys as k, yurt_hub.domain.local.tokens;"
        "assert not [m for m in sys.modules if m.startswith('cryptography')];"
        "k.proves({'kty': 'RSA', 'n': 'AQAB', 'e': 'AQAB'}, 'RS256', b'', b'');"
        "assert 'cryptography' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
