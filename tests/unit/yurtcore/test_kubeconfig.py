"""Kubeconfigs as our own tools write them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import trustme
from yurtcore.adapters import kubeconfig, tls
from yurtcore.errors import BadInput


def config(cluster: dict[str, Any], user: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", **({"user": "u"} if user is not None else {})}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}] if user is not None else [],
    }


def write(tmp_path: Path, tree: object) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(tree))
    return path


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"CA")
    (tmp_path / "tls.crt").write_bytes(b"CERT")
    (tmp_path / "tls.key").write_bytes(b"KEY")
    cluster = {"server": "https://a:6443/", "certificate-authority": "ca.crt"}
    user = {"client-certificate": "tls.crt", "client-key": str(tmp_path / "tls.key"), "tokenFile": "token"}
    found = kubeconfig.read(write(tmp_path, config(cluster, user)))
    assert (found.server, found.ca, found.cert, found.key) == ("https://a:6443", b"CA", b"CERT", b"KEY")
    assert (found.token, found.token_file) == (None, tmp_path / "token")


def test_inline_data_wins_over_a_files_name(tmp_path: Path) -> None:
    cluster = {
        "server": "https://a:6443",
        "certificate-authority": "not-there",
        "certificate-authority-data": base64.b64encode(b"CA").decode(),
    }
    found = kubeconfig.read(write(tmp_path, config(cluster, {"token": "t"})))
    assert (found.ca, found.token) == (b"CA", "t")


def test_a_context_without_a_user_shows_no_credential(tmp_path: Path) -> None:
    found = kubeconfig.read(write(tmp_path, config({"server": "http://a"}, None)))
    assert (found.cert, found.key, found.token, found.token_file) == (None, None, None, None)


def test_credentials_do_not_show_themselves(tmp_path: Path) -> None:
    found = kubeconfig.read(write(tmp_path, config({"server": "http://a"}, {"token": "hunter2"})))
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("apiVersion: v1\nkind: Config\n", "is not JSON; only JSON kubeconfigs are read here"),
        ("[]", "holds no object"),
        ("{}", "has no context None"),
        (json.dumps({"current-context": "c", "contexts": [{"name": "c", "context": {}}]}), "has no cluster None"),
        (json.dumps(config({}, None)), "names no server"),
        (json.dumps(config({"server": "x", "certificate-authority-data": "%"}, None)), "is not base64"),
        (
            json.dumps(config({"server": "x", "certificate-authority": "gone"}, None)),
            "cannot read certificate-authority",
        ),
    ],
)
def test_a_file_of_no_use_is_told_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(BadInput, match=why):
        kubeconfig.read(path)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read kubeconfig .*: No such file"):
        kubeconfig.read(tmp_path / "gone")


def test_a_pair_that_does_not_fit_is_refused() -> None:
    ca = trustme.CA()
    one, other = ca.issue_cert("a"), ca.issue_cert("b")
    cert, key = one.cert_chain_pems[0].bytes(), other.private_key_pem.bytes()
    with pytest.raises(BadInput, match="not a PEM pair that fits"):
        tls.client_context(ca.cert_pem.bytes(), cert, key)
    tls.client_context(ca.cert_pem.bytes(), cert, one.private_key_pem.bytes())


@pytest.mark.parametrize(
    "ca", [b"nonsense", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_that_is_none_is_refused(ca: bytes) -> None:
    with pytest.raises(BadInput, match="the CA is not a PEM certificate"):
        tls.client_context(ca, None, None)
