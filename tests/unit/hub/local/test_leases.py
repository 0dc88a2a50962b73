"""Leases as kubelets send them: protobuf by the field numbers of generated.proto, and JSON."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.protobuf import enveloped, field, lease
from yurt_hub.domain.local.leases import Renewal, read_renewal
from yurt_hub.domain.local.protobuf import fields

OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-1"}
FROM_THE_SERVER = (
    b"k8s\x00\n\x1f\n\x16coordination.k8s.io/v1\x12\x05Lease\x12\xf8\x01\n\xe3\x01\n\x02n1\x12\x00\x1a\x0fkube-node-lease"
    b'"\x00*$ee205c0d-08c0-44a3-ba71-63932a7556ec2\x032238\x00B\x08\x08\xf9\xbc\x9c\xd8\x06\x10\x00\x8a\x01\x8f\x01\n\x04'
    b'yurt\x12\x06Update\x1a\x16coordination.k8s.io/v1"\x08\x08\xf9\xbc\x9c\xd8\x06\x10\x002\x08FieldsV1:Q\nO{"f:spec":'
    b'{"f:holderIdentity":{},"f:leaseDurationSeconds":{},"f:renewTime":{}}}B\x00\x12\x10\n\x02n1\x10("\x08\x08\xaa\xe3'
    b'\x9a\xd8\x06\x10\x00\x1a\x00"\x00'
)
"""What kube-apiserver 1.34 wrote."""


def test_a_real_lease_is_read() -> None:
    assert read_renewal(FROM_THE_SERVER) == Renewal("n1", 40, (), "ee205c0d-08c0-44a3-ba71-63932a7556ec", "223")


def test_all_of_an_owner_is_read() -> None:
    owner = field(1, "Node") + field(3, "n1") + field(4, "u-1") + field(5, "v1") + field(6, 1) + field(7, 0)
    body = enveloped("Lease", field(1, field(13, owner)) + field(2, field(1, "n1")))
    assert read_renewal(body).owners == ({**OWNER, "controller": True, "blockOwnerDeletion": False},)


def test_a_json_lease_is_read() -> None:
    body = {
        "kind": "Lease",
        "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "ownerReferences": [OWNER], "labels": None},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 25, "renewTime": None},
    }
    assert read_renewal(json.dumps(body).encode()) == Renewal("n1", 25, (OWNER,), "u", "7")


names = st.text("abcdefghij-.0123456789", min_size=1, max_size=63)


@given(
    holder=names, duration=st.integers(1, 2**31 - 1), uid=names, version=st.integers(1, 2**63).map(str), node=names,
    owned=st.booleans(),
)  # fmt: skip
def test_every_protobuf_lease_says_the_same_as_its_json(
    holder: str, duration: int, uid: str, version: str, node: str, *, owned: bool
) -> None:
    owners = ({**OWNER, "name": node, "uid": uid},) if owned else ()
    body = lease(node, holder=holder, duration=duration, uid=uid, version=version, owners=owners, renewed=1.7e9)
    assert read_renewal(body) == Renewal(holder, duration, owners, uid, version)


@given(st.binary(max_size=200), st.integers(0, len(FROM_THE_SERVER)))
def test_damaged_bodies_are_refused_and_never_worse(noise: bytes, cut: int) -> None:
    """Anything else than a Lease is a ValueError."""
    for body in (noise, enveloped("Lease", noise), FROM_THE_SERVER[:cut] + noise):
        try:
            assert isinstance(read_renewal(body), Renewal)
        except ValueError:
            continue


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"k8s\x00",
        b"null",
        b"[]",
        b'"Lease"',
        b'{"kind":"Pod","metadata":{},"spec":{}}',
        b'{"kind":"Lease","spec":{"leaseDurationSeconds":"40"}}',
        b'{"kind":"Lease","spec":{"holderIdentity":4}}',
        b'{"kind":"Lease","spec":[]}',
        b'{"kind":"Lease","metadata":{"ownerReferences":[4]}}',
        b'{"kind":"Lease","metadata":{"ownerReferences":{"a":4}}}',
        enveloped("Pod", b""),
        enveloped("Lease", b""),
        enveloped("Lease", field(1, 5)),
        b"k8s\x00\x0a\x02\x08\x01\x13",
        b"k8s\x00\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"k8s\x00\x12\x05\x0a",
        b"[" * 100_000,
    ],
)
def test_what_is_no_lease_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_renewal(body)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert all(number >= 0 for number, _ in fields(data))
