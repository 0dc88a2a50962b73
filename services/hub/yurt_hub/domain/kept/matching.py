"""Which objects a selector means: labels for all kinds, fields for those kinds whose fields are known.

Fields and their texts are those of the API server 1.34 (the `ToSelectableFields` of each kind's registry). A custom
kind may declare fields of its own, which are not known here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct
from yurtcore.wire.gvr import Gvr
from yurtcore.wire.selectors import fields as field_selectors
from yurtcore.wire.selectors import labels as label_selectors

from yurt_hub.domain.kept import sets
from yurt_hub.domain.kept.objects import Obj
from yurt_hub.domain.kept.sets import SetKey

_Values: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, str]]


class Selection(Struct, frozen=True):
    """What is left to be checked of a request's selectors on members of a set that contains it."""

    gvr: Gvr
    labels: label_selectors.Selector = ()
    fields: field_selectors.Selector = ()

    @property
    def everything(self) -> bool:
        """All members are meant."""
        return not self.labels and not self.fields

    def unknown(self) -> str:
        """A field whose values cannot be told for this kind; "" when all can."""
        own = _FIELDS.get((self.gvr.group, self.gvr.resource), _NONE)[0]
        return next((term.field for term in self.fields if term.field not in _COMMON and term.field not in own), "")

    def matches(self, obj: Obj) -> bool:
        """Tell whether the object is meant; only for a selection without an `unknown` field."""
        if self.labels and not label_selectors.match(self.labels, labels_of(obj.raw)):
            return False
        return not self.fields or field_selectors.match(self.fields, self._values(obj))

    def _values(self, obj: Obj) -> Mapping[str, str]:
        common = {"metadata.namespace": obj.key[0], "metadata.name": obj.key[1]}
        if all(term.field in _COMMON for term in self.fields):
            return common
        values = _FIELDS[self.gvr.group, self.gvr.resource][1]
        return {**values(msgspec.json.decode(obj.raw)), **common}


def residual(covering: SetKey, asked: SetKey) -> Selection:
    """What `asked` demands beyond what every member of `covering` has anyway; see `sets.contains`."""
    have_labels, have_fields = set(sets.label_terms(covering.labels)), set(sets.asked_fields(covering))
    return Selection(
        asked.gvr,
        tuple(one for one in sets.label_terms(asked.labels) if one not in have_labels),
        tuple(one for one in sets.asked_fields(asked) if one not in have_fields),
    )


class _LabelMeta(Struct, frozen=True, gc=False):
    labels: dict[str, str] | None = None


class _Labelled(Struct, gc=False):
    metadata: _LabelMeta = _LabelMeta()


_LABELLED: Final = msgspec.json.Decoder(_Labelled)


def labels_of(raw: bytes) -> Mapping[str, str]:
    """An object's labels."""
    return _LABELLED.decode(raw).metadata.labels or {}


def _at(obj: Mapping[str, Any], path: str) -> Any:
    found: Any = obj
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(*paths: str) -> tuple[frozenset[str], _Values]:
    """Fields that are texts in the object, under their own names; "" when they are not there."""
    return frozenset(paths), lambda obj: {path: _at(obj, path) or "" for path in paths}


def _number(name: str, path: str) -> tuple[frozenset[str], _Values]:
    return frozenset({name}), lambda obj: {name: str(_at(obj, path) or 0)}


_POD_TEXTS: Final = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.nominatedNodeName",
)


def _pod(obj: Mapping[str, Any]) -> Mapping[str, str]:
    found = {path: _at(obj, path) or "" for path in _POD_TEXTS}
    found["spec.host"] = found["spec.nodeName"]
    found["spec.hostNetwork"] = "true" if _at(obj, "spec.hostNetwork") else "false"
    ips = _at(obj, "status.podIPs") or ()
    found["status.podIP"] = (ips[0].get("ip") or "") if ips else (_at(obj, "status.podIP") or "")
    return found  # `status.podIPs` is accepted by the API server, which never gives it a value


def _node(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return {"spec.unschedulable": "true" if _at(obj, "spec.unschedulable") else "false"}


_REFERENCE: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_TEXTS: Final = ("reason", "type", "reportingComponent", *(f"involvedObject.{name}" for name in _REFERENCE))
_NEW_EVENT_TEXTS: Final = ("reason", "type", "reportingController", *(f"regarding.{name}" for name in _REFERENCE))
"""Of `events.k8s.io`, whose selectable fields have names of their own."""


def _event(obj: Mapping[str, Any]) -> Mapping[str, str]:
    found = {path: _at(obj, path) or "" for path in _EVENT_TEXTS}
    found["source"] = _at(obj, "source.component") or found["reportingComponent"]
    return found


_COMMON: Final = frozenset({"metadata.name", "metadata.namespace"})
_NONE: Final[tuple[frozenset[str], _Values]] = (frozenset(), lambda _: {})
_FIELDS: Final[Mapping[tuple[str, str], tuple[frozenset[str], _Values]]] = {
    ("", "pods"): (frozenset({*_POD_TEXTS, "spec.host", "spec.hostNetwork", "status.podIP", "status.podIPs"}), _pod),
    ("", "nodes"): (frozenset({"spec.unschedulable"}), _node),
    ("", "services"): _texts("spec.clusterIP", "spec.type"),
    ("", "secrets"): _texts("type"),
    ("", "namespaces"): _texts("status.phase"),
    ("", "replicationcontrollers"): _number("status.replicas", "status.replicas"),
    ("", "events"): (frozenset({*_EVENT_TEXTS, "source"}), _event),
    ("events.k8s.io", "events"): _texts(*_NEW_EVENT_TEXTS),
    ("apps", "replicasets"): _number("status.replicas", "status.replicas"),
    ("batch", "jobs"): _number("status.successful", "status.succeeded"),
    ("certificates.k8s.io", "certificatesigningrequests"): _texts("spec.signerName"),
    ("resource.k8s.io", "resourceslices"): _texts("spec.nodeName", "spec.driver"),
}
