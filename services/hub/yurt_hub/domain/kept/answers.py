"""Answers from the store, as they go out: to gets and lists while the cloud cannot be asked.

404 is said only by a set that would contain the object; what no set can tell is 503 with a Status that says what is
missing. Every answer from the store has a warning with its age.
"""

from typing import Final

from msgspec import Struct
from yurtcore.errors import BadInput, YurtError
from yurtcore.wire import status
from yurtcore.wire.gvr import Target
from yurtcore.wire.integers import int64

from yurt_hub.domain.kept import ages, lists, matching, partial, sets, tables
from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.forms import JSON_TYPE, Form, Shape
from yurt_hub.domain.kept.objects import Obj
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Absent, Found, Store


class Answer(Struct, frozen=True):
    """One answer."""

    code: int
    body: bytes
    content_type: str = JSON_TYPE
    warning: str = ""
    """Value of a Warning header; "" for none."""
    why: str = ""
    """What decided, for `explain` and logs."""
    version: int = 0
    """Of the set that answered."""


class _TooNew(Exception):
    """A version was asked for that is higher than what is kept."""

    def __init__(self, version: int, known: int) -> None:
        super().__init__(version, known)
        self.version, self.known = version, known


UNACCEPTABLE: Final = status.status(
    406, "the hub answers in JSON while its cloud is out of reach; accept application/json", reason="NotAcceptable"
)


def get(store: Store, target: Target, identity: str, form: Form | None, now: float) -> Answer:
    """The answer to the get of one object; `form` as `forms.negotiate` found it."""
    if form is None:
        return refusal(UNACCEPTABLE)
    key = sets.set_key(target)
    found = store.get(key.gvr, key.namespace, target.name, identity)
    if isinstance(found, Found):
        return _found(found, form, now)
    if isinstance(found, Absent):
        return _absent(target, found.coverage, now)
    return unavailable(found.reason)


def list_(store: Store, target: Target, identity: str, form: Form | None, now: float) -> Answer:
    """The answer to a list; `form` as `forms.negotiate` found it."""
    if form is None:
        return refusal(UNACCEPTABLE)
    try:
        asked = sets.set_key(target)
        return _list(store, asked, target, identity, form, now)
    except _TooNew as err:
        return refusal(too_new(err.version, err.known))
    except YurtError as err:
        return refusal(status.from_error(err))


def unavailable(reason: str) -> Answer:
    """503: nothing that is kept answers; `reason` says what is missing."""
    message = f"the cloud cannot be reached, and the hub cannot answer in its place: {reason}"
    return refusal(status.status(503, message, details={"causes": [{"reason": "NotKept", "message": reason}]}))


def refusal(body: dict[str, object]) -> Answer:
    """A Status as an answer."""
    code = body["code"]
    return Answer(code if isinstance(code, int) else 500, status.encode(body), why=str(body.get("message", "")))


def too_new(version: int, known: int) -> dict[str, object]:
    """The Status for a version that is higher than what is kept, as the API server words it.

    client-go then lists without a version.
    """
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {version}, current: {known}"
    return status.status(504, message, details={"causes": [cause]})


def warning(coverage: Coverage, now: float) -> str:
    """The Warning header of an answer from this set."""
    seconds = max(0, int(now - coverage.confirmed))
    told = f"{seconds} s" if seconds < 120 else f"{seconds} s ({ages.human(seconds)})"
    return f'299 yurt-hub "the cloud cannot be reached; this was so {told} ago"'


def _found(found: Found, form: Form, now: float) -> Answer:
    obj, coverage = found.obj, found.coverage
    coverage.read(now)
    match form.shape:
        case Shape.TABLE:
            if coverage.columns is None:
                return unavailable("the object is kept, but not the columns of its table")
            meta = b'{"resourceVersion":"%d"}' % obj.version
            body = tables.table((tables.row(obj, coverage.columns, form, now),), coverage.columns, form, meta)
        case Shape.PARTIAL:
            body = partial.of_object(obj.raw, form.meta)
        case _:
            body = obj.raw
    return Answer(
        200,
        body + b"\n",
        warning=warning(coverage, now),
        why=f"kept with {sets.describe(coverage.key)}",
        version=coverage.version,
    )


def _absent(target: Target, coverage: Coverage, now: float) -> Answer:
    coverage.read(now)
    kind = f"{target.resource}.{target.group}" if target.group else target.resource
    details = {"name": target.name, "group": target.group, "kind": target.resource}
    if not target.group:
        del details["group"]
    body = status.status(404, f'{kind} "{target.name}" not found', details=details)
    return Answer(
        404,
        status.encode(body),
        warning=warning(coverage, now),
        why=f"not in {sets.describe(coverage.key)}",
        version=coverage.version,
    )


def _list(store: Store, asked: SetKey, target: Target, identity: str, form: Form, now: float) -> Answer:
    candidates = store.candidates(asked, identity)
    if not candidates:
        return unavailable(store.missing(asked, identity))
    kind, list_kind = store.kinds(asked.gvr)
    why = "the kind of the objects is not known"
    for coverage in candidates:
        chosen, why = _select(coverage, asked, form)
        if chosen is None:
            continue
        if not kind and form.shape is Shape.OBJECTS:
            return unavailable("the kind of the objects is not known")
        page = _page(chosen, coverage, asked, target)
        coverage.read(now)
        body = lists.body(page, list_kind, sets.api_version(asked.gvr), form, coverage.columns, now)
        return Answer(
            200,
            body,
            warning=warning(coverage, now),
            why=f"kept as {sets.describe(coverage.key)}",
            version=coverage.version,
        )
    return unavailable(why)


def _select(coverage: Coverage, asked: SetKey, form: Form) -> tuple[list[Obj] | None, str]:
    """The members that are asked for; None with the reason when they cannot be told or not in this form."""
    selection = matching.residual(coverage.key, asked)
    if unknown := selection.unknown():
        return None, f"the hub cannot tell the field {unknown} of {asked.gvr.resource}"
    if form.shape is Shape.TABLE and coverage.columns is None:
        return None, f"{sets.describe(asked)} is kept, but not the columns of its table"
    shown = coverage.shown()
    chosen = shown if selection.everything else [obj for obj in shown if selection.matches(obj)]
    return chosen, ""


def _page(chosen: list[Obj], coverage: Coverage, asked: SetKey, target: Target) -> lists.Page:
    first = {name: values[0] for name, values in target.query.items() if values}
    version, limit = int64(first.get("resourceVersion") or "0"), int64(first.get("limit") or "0")
    if version is None or limit is None or version < 0:
        raise BadInput("resourceVersion and limit are whole numbers")
    continue_ = first.get("continue", "")
    if continue_ and version:
        raise BadInput("specifying resource version is not allowed when using continue")
    if version > coverage.version:
        raise _TooNew(version, coverage.version)
    if first.get("resourceVersionMatch") == "Exact" and version != coverage.version:
        raise YurtError(f"version {version} is not kept, {coverage.version} is", code=410, reason="Expired")
    if first.get("resourceVersion") == "0" and not continue_:
        limit = 0  # the API server's cache answers whole, too
    return lists.page(
        chosen, coverage.version, namespace=asked.namespace, limit=limit, continue_=continue_,
        count=not asked.labels and not asked.fields,
    )  # fmt: skip
