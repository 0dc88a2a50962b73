"""Sets: one form for all ways to ask, and which contains which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.domain.kept import sets
from yurt_hub.domain.kept.sets import SetKey, contains, one_key, set_key
from yurtcore.errors import BadInput
from yurtcore.wire.gvr import Gvr, parse_target
from yurtcore.wire.selectors import fields, labels

PODS = Gvr("", "v1", "pods")


def key(target: str) -> SetKey:
    return set_key(parse_target(target))


def pods(query: str = "", namespace: str = "") -> SetKey:
    middle = f"namespaces/{namespace}/" if namespace else ""
    return key(f"/api/v1/{middle}pods?{query}")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("labelSelector=a%3D%3D1", "labelSelector=a%20in%20%281%29"),
        ("labelSelector=b%2Ca%21%3D1", "labelSelector=a%20notin%20%281%29%2C%20b"),
        ("labelSelector=a%3D1%2Ca%3D1", "labelSelector=a%3D1"),
        ("labelSelector=a%20in%20%282%2C1%29", "labelSelector=a%20in%20%281%2C2%2C2%29&limit=500"),
        ("fieldSelector=b%3D%3D1%2Ca%3D2", "fieldSelector=a%3D2%2Cb%3D1&resourceVersion=7&watch=true"),
    ],
)
def test_all_ways_to_write_a_selector_are_one_set(left: str, right: str) -> None:
    assert pods(left) == pods(right)


def test_a_get_and_a_list_by_name_are_different_sets() -> None:
    one, many = pods(namespace="a"), pods("fieldSelector=metadata.name%3Dx", "a")
    got = key("/api/v1/namespaces/a/pods/x")
    assert got == one_key(PODS, "a", "x") != many
    assert sets.named(got) == sets.named(many) == "x"
    assert contains(one, got)
    assert contains(many, got)
    assert not contains(got, many), "who may get may not list"


def test_a_namespace_is_in_no_namespace() -> None:
    assert key("/api/v1/namespaces/a") == one_key(Gvr("", "v1", "namespaces"), "", "a")
    assert contains(key("/api/v1/namespaces"), key("/api/v1/namespaces/a"))


def test_the_old_watch_of_one_object_is_a_list() -> None:
    assert key("/api/v1/watch/namespaces/a/pods/x") == pods("fieldSelector=metadata.name%3Dx", "a")


@pytest.mark.parametrize("query", ["labelSelector=%3D1", "fieldSelector=a"])
def test_a_selector_that_the_cloud_refuses_is_refused(query: str) -> None:
    with pytest.raises(BadInput):
        pods(query)


@pytest.mark.parametrize(
    ("covering", "asked", "result"),
    [
        (pods(), pods(namespace="a"), True),
        (pods(namespace="a"), pods(), False),
        (pods(namespace="prod"), pods(namespace="prod-eu"), False),
        (pods("labelSelector=a"), pods("labelSelector=a%3D1"), True),
        (pods("labelSelector=a%3D1"), pods("labelSelector=a"), False),
        (pods("labelSelector=a%20in%20%281%2C2%29"), pods("labelSelector=a%3D2%2Cb"), True),
        (pods("labelSelector=a%21%3D1"), pods("labelSelector=a%3D2"), True),
        (pods("labelSelector=%21a"), pods("labelSelector=a%21%3D1"), False),
        (pods("labelSelector=a%21%3D1"), pods("labelSelector=%21a"), True),
        (pods("fieldSelector=metadata.name%21%3Dx"), pods("fieldSelector=metadata.name%3Dy"), True),
        (pods("fieldSelector=metadata.namespace%3Da"), pods(namespace="a"), True),
        (pods("fieldSelector=metadata.namespace%3Da"), pods(namespace="b"), False),
        (pods("fieldSelector=spec.nodeName%3Dn"), pods("fieldSelector=spec.nodeName%3Dm"), False),
        (key("/apis/apps/v1/deployments"), key("/apis/apps/v1beta1/deployments"), False),
    ],
)
def test_a_set_contains_what_each_of_its_requirements_follows_from(
    covering: SetKey,
    asked: SetKey,
    result: bool,  # noqa: FBT001
) -> None:
    assert contains(covering, asked) is result


LABEL_TEXTS = ["", "a", "!a", "a=1", "a!=1", "a in (1,2)", "a notin (1,2)", "a=2,b", "b=1,a!=2", "a>1", "a<2", "b"]
FIELD_TEXTS = ["", "f=1", "f!=1", "f=2,g!=1", "g=1", "metadata.namespace=n"]
SELECTORS = st.builds(
    lambda namespace, label, field: SetKey(PODS, namespace, sets.canonical_labels(label), sets.canonical_fields(field)),
    st.sampled_from(["", "n", "m"]),
    st.sampled_from(LABEL_TEXTS),
    st.sampled_from(FIELD_TEXTS),
)


@given(
    SELECTORS,
    SELECTORS,
    st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "1", "2", "3"])),
    st.fixed_dictionaries({"f": st.sampled_from("123"), "g": st.sampled_from("123")}),
    st.sampled_from(["n", "m"]),
)
def test_no_object_of_a_contained_set_is_outside(
    covering: SetKey, asked: SetKey, has: dict[str, str], values: dict[str, str], namespace: str
) -> None:
    values = {**values, "metadata.namespace": namespace}

    def means(one: SetKey) -> bool:
        return labels.match(sets.label_terms(one.labels), has) and fields.match(sets.asked_fields(one), values)

    if contains(covering, asked) and means(asked):
        assert means(covering)


@given(SELECTORS)
def test_the_cloud_is_asked_for_the_same_set(asked: SetKey) -> None:
    assert key(sets.upstream_path(asked)) == asked


def test_a_set_is_told_in_words() -> None:
    assert sets.describe(pods("labelSelector=a%3D1&fieldSelector=b%3D2", "n")) == (
        "pods in n with labels a=1 with fields b=2"
    )
    assert sets.describe(key("/apis/apps/v1/namespaces/n/deployments/x")) == "deployments.apps n/x"
    assert sets.upstream_path(one_key(PODS, "n", "x")) == "/api/v1/namespaces/n/pods/x"
    assert sets.api_version(Gvr("apps", "v1", "deployments")) == "apps/v1"
