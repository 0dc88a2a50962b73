"""Sets of objects: what a list, a watch or a get asks for, in one canonical form, and which set contains which."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from yurtcore.wire import gvr as paths
from yurtcore.wire.gvr import Gvr, Target
from yurtcore.wire.selectors import fields as field_selectors
from yurtcore.wire.selectors import labels as label_selectors
from yurtcore.wire.selectors.fields import Term
from yurtcore.wire.selectors.labels import Op, Requirement

_NAME: Final = "metadata.name"
_NAMESPACE: Final = "metadata.namespace"


@dataclass(frozen=True, slots=True)
class SetKey:
    """One set. Make it with `set_key` or `one_key`: selectors are in canonical form, so that equal sets are equal."""

    gvr: Gvr
    namespace: str
    """"" for all namespaces, and for kinds that have none."""
    labels: str = ""
    fields: str = ""
    one: bool = False
    """A single object that was asked for by its name: whoever may get it may not list it."""


def set_key(target: Target) -> SetKey:
    """The set that a request is about; raises BadInput for selectors that the API server refuses too."""
    namespace = "" if _is_namespaces(target.gvr) else target.namespace
    if target.name_in_path:
        one = one_key(target.gvr, namespace, target.name)
        return replace(one, one=False) if target.prefix_verb == "watch" else one
    first = {name: values[0] for name, values in target.query.items() if values}
    return SetKey(
        target.gvr,
        namespace,
        canonical_labels(first.get("labelSelector", "")),
        canonical_fields(first.get("fieldSelector", "")),
    )


def one_key(gvr: Gvr, namespace: str, name: str) -> SetKey:
    """The set of the one object with this name."""
    return SetKey(gvr, namespace, "", field_selectors.write((Term(_NAME, name),)), one=True)


def canonical_labels(text: str) -> str:
    """A label selector as text that is the same for all ways to write it; raises BadInput."""
    return label_selectors.write(_canonical(label_selectors.parse(text))) if text else ""


def canonical_fields(text: str) -> str:
    """A field selector as text that is the same for all ways to write it; raises BadInput."""
    return field_selectors.write(tuple(dict.fromkeys(field_selectors.parse(text)))) if text else ""


@lru_cache(maxsize=4096)
def label_terms(labels: str) -> label_selectors.Selector:
    """The requirements of a canonical label selector."""
    return _canonical(label_selectors.parse(labels)) if labels else ()


@lru_cache(maxsize=4096)
def field_terms(fields: str) -> field_selectors.Selector:
    """The terms of a canonical field selector."""
    return field_selectors.parse(fields) if fields else ()


def named(key: SetKey) -> str | None:
    """The one name that the set's field selector demands, if it does."""
    return field_selectors.exact(field_terms(key.fields), _NAME)


def contains(covering: SetKey, asked: SetKey) -> bool:
    """Tell whether every object of `asked` is in `covering`, by their selectors alone.

    True only when each requirement of `covering` follows from one of `asked`; a set that could only be listed in parts
    is not found by this. Who may get one object may not list it, so a `one` set never contains a list.
    """
    if covering.gvr != asked.gvr or (covering.one and not asked.one):
        return False
    if covering == asked:
        return True
    if covering.namespace not in ("", asked.namespace):
        return False
    wanted = asked_fields(asked)
    return all(any(_field_follows(have, need) for have in wanted) for need in field_terms(covering.fields)) and all(
        any(_label_follows(have, need) for have in label_terms(asked.labels)) for need in label_terms(covering.labels)
    )


def asked_fields(key: SetKey) -> field_selectors.Selector:
    """The set's field terms, its namespace among them."""
    terms = field_terms(key.fields)
    return (*terms, Term(_NAMESPACE, key.namespace)) if key.namespace else terms


def upstream_path(key: SetKey) -> str:
    """Path and query with which the cloud is asked for this set."""
    if key.one:
        return paths.path(key.gvr, namespace=key.namespace or None, name=named(key))
    path = paths.path(key.gvr, namespace=key.namespace or None)
    query = [
        f"{name}={quote(value, safe='')}"
        for name, value in (("labelSelector", key.labels), ("fieldSelector", key.fields))
        if value
    ]
    return f"{path}?{'&'.join(query)}" if query else path


def api_version(gvr: Gvr) -> str:
    """The `apiVersion` of a kind's objects."""
    return f"{gvr.group}/{gvr.version}" if gvr.group else gvr.version


def describe(key: SetKey) -> str:
    """The set in words for a person, such as `pods in default with labels app=web`."""
    gvr = key.gvr
    words = [gvr.resource if not gvr.group else f"{gvr.resource}.{gvr.group}"]
    if key.one:
        return f"{words[0]} {key.namespace + '/' if key.namespace else ''}{named(key)}"
    words += [f"in {key.namespace}"] * bool(key.namespace)
    words += [f"with labels {key.labels}"] * bool(key.labels)
    words += [f"with fields {key.fields}"] * bool(key.fields)
    return " ".join(words)


def _is_namespaces(gvr: Gvr) -> bool:
    """The path of a Namespace looks like one inside that namespace, but a Namespace is in none."""
    return gvr.group == "" and gvr.resource == "namespaces"


def _canonical(selector: label_selectors.Selector) -> label_selectors.Selector:
    found = {_simplest(requirement) for requirement in selector}
    return tuple(sorted(found, key=lambda requirement: (requirement.key, requirement.op.value, requirement.values)))


def _simplest(requirement: Requirement) -> Requirement:
    match requirement.op:
        case Op.DOUBLE_EQUALS:
            return Requirement(requirement.key, Op.EQUALS, requirement.values)
        case Op.IN if len(requirement.values) == 1:
            return Requirement(requirement.key, Op.EQUALS, requirement.values)
        case Op.NOT_IN if len(requirement.values) == 1:
            return Requirement(requirement.key, Op.NOT_EQUALS, requirement.values)
        case _:
            return requirement


def _field_follows(have: Term, need: Term) -> bool:
    if have == need:
        return True
    return have.field == need.field and need.negated and not have.negated and have.value != need.value


def _label_follows(have: Requirement, need: Requirement) -> bool:
    """Tell whether every object with `have` has `need`."""
    if have == need:
        return True
    if have.key != need.key:
        return False
    values, needed = set(have.values), set(need.values)
    match need.op:
        case Op.EQUALS | Op.DOUBLE_EQUALS | Op.IN:
            return have.op in (Op.EQUALS, Op.IN) and values <= needed
        case Op.NOT_EQUALS | Op.NOT_IN:
            if have.op in (Op.EQUALS, Op.IN):
                return not values & needed
            return have.op is Op.ABSENT or (have.op in (Op.NOT_EQUALS, Op.NOT_IN) and needed <= values)
        case Op.EXISTS:
            return have.op in (Op.EQUALS, Op.IN, Op.GREATER, Op.LESS)
        case _:
            return False
