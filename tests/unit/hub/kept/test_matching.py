"""Selectors, evaluated here as the API server evaluates them."""

import json
from typing import Any

import pytest
from yurt_hub.domain.kept import matching
from yurt_hub.domain.kept.objects import read_object
from yurt_hub.domain.kept.sets import set_key
from yurtcore.wire.gvr import parse_target

POD = {
    "spec": {"nodeName": "n1", "restartPolicy": "Always", "serviceAccountName": "sa", "hostNetwork": True},
    "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "podIP": "10.0.0.1"},
}
EVENT = {
    "involvedObject": {"kind": "Pod", "name": "x", "uid": "u"},
    "reason": "Started",
    "type": "Normal",
    "source": {"component": "kubelet"},
    "reportingComponent": "other",
}


def means(path: str, selector: str, content: dict[str, Any], covering: str = "") -> bool:
    meta = {"name": "x", "namespace": "a", "labels": {"app": "web"}}
    obj = read_object(json.dumps({"kind": "K", "apiVersion": "v1", "metadata": meta, **content}).encode())
    asked = set_key(parse_target(f"{path}?fieldSelector={selector.replace('=', '%3D').replace('!', '%21')}"))
    selection = matching.residual(set_key(parse_target(covering or path)), asked)
    assert selection.unknown() == ""
    return selection.matches(obj)


@pytest.mark.parametrize(
    ("path", "selector", "content", "result"),
    [
        ("/api/v1/pods", "metadata.name=x", POD, True),
        ("/api/v1/pods", "metadata.namespace!=a", POD, False),
        ("/api/v1/pods", "spec.nodeName=n1,status.phase!=Failed", POD, True),
        ("/api/v1/pods", "spec.host=n1", POD, True),
        ("/api/v1/pods", "spec.hostNetwork=true", POD, True),
        ("/api/v1/pods", "spec.hostNetwork=false", {}, True),
        ("/api/v1/pods", "status.podIP=10.0.0.1", POD, True),
        ("/api/v1/pods", "status.podIP=fd00::1", POD, False),
        ("/api/v1/pods", "status.podIPs=10.0.0.1", POD, False),
        ("/api/v1/pods", "spec.serviceAccountName=sa,spec.restartPolicy=Always,spec.schedulerName=", POD, True),
        ("/api/v1/pods", "spec.nodeName=", {"spec": {}}, True),
        ("/api/v1/nodes", "spec.unschedulable=true", {"spec": {"unschedulable": True}}, True),
        ("/api/v1/nodes", "spec.unschedulable=false", {}, True),
        ("/api/v1/services", "spec.clusterIP!=None", {"spec": {"clusterIP": "None"}}, False),
        ("/api/v1/services", "spec.type=LoadBalancer", {"spec": {"type": "LoadBalancer"}}, True),
        ("/api/v1/secrets", "type=Opaque", {"type": "Opaque"}, True),
        ("/api/v1/namespaces", "status.phase=Active", {"status": {"phase": "Active"}}, True),
        ("/api/v1/replicationcontrollers", "status.replicas=0", {"status": {}}, True),
        ("/apis/apps/v1/replicasets", "status.replicas=2", {"status": {"replicas": 2}}, True),
        ("/apis/batch/v1/jobs", "status.successful=1", {"status": {"succeeded": 1}}, True),
        ("/api/v1/events", "involvedObject.name=x,involvedObject.uid=u,type!=Warning", EVENT, True),
        ("/api/v1/events", "source=kubelet", EVENT, True),
        ("/api/v1/events", "source=other", {**EVENT, "source": {}}, True),
        ("/apis/events.k8s.io/v1/events", "regarding.name=x", {"regarding": {"name": "x"}}, True),
        ("/apis/events.k8s.io/v1/events", "reportingController=c", {"reportingController": "c"}, True),
        ("/apis/shop/v1/carts", "metadata.name=x", {}, True),
    ],
)
def test_fields_have_the_values_of_the_api_server(
    path: str,
    selector: str,
    content: dict[str, Any],
    result: bool,  # noqa: FBT001
) -> None:
    assert means(path, selector, content) is result


def test_only_what_the_set_does_not_demand_anyway_is_checked() -> None:
    covering = set_key(parse_target("/apis/shop/v1/carts?fieldSelector=spec.size%3Dbig&labelSelector=app"))
    asked = set_key(parse_target("/apis/shop/v1/carts?fieldSelector=spec.size%3Dbig&labelSelector=app%2Cx%3D1"))
    left = matching.residual(covering, asked)
    assert left.unknown() == ""
    assert left.fields == ()
    assert [one.key for one in left.labels] == ["x"]
    assert matching.residual(asked, asked).everything


def test_the_namespace_of_the_path_is_checked_too() -> None:
    left = matching.residual(set_key(parse_target("/api/v1/pods")), set_key(parse_target("/api/v1/namespaces/a/pods")))
    inside = read_object(b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"a"}}')
    outside = read_object(b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"b"}}')
    assert (left.matches(inside), left.matches(outside)) == (True, False)


def test_a_field_that_nobody_knows_is_named() -> None:
    covering = set_key(parse_target("/apis/shop/v1/carts"))
    asked = set_key(parse_target("/apis/shop/v1/carts?fieldSelector=spec.size%3Dbig"))
    assert matching.residual(covering, asked).unknown() == "spec.size"
    pods = set_key(parse_target("/api/v1/pods?fieldSelector=spec.x%3D1"))
    assert matching.residual(set_key(parse_target("/api/v1/pods")), pods).unknown() == "spec.x"
