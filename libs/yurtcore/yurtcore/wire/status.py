"""Kubernetes `Status` bodies: written for callers, and read back into our errors.

Reasons are those of apimachinery's `metav1.StatusReason`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from yurtcore import errors

REASONS: Final[Mapping[int, str]] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""The reason that goes with a code when the caller names none; codes that are not here have none."""

_TEXT_LIMIT: Final = 200
"""Characters kept of an answer that is not a Status: enough to recognise it, too few to leak or flood."""


def status(
    code: int,
    message: str,
    *,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
    retry_after: int | None = None,
) -> dict[str, Any]:
    """A Status object. `retry_after` (whole seconds) goes into `details`; send the Retry-After header too."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure" if code >= 400 else "Success",
        "message": message,
        "reason": REASONS.get(code, "") if reason is None else reason,
        "code": code,
    }
    if not body["reason"]:
        del body["reason"]
    found = dict(details or {})
    if retry_after is not None:
        found["retryAfterSeconds"] = retry_after
    if found:
        body["details"] = found
    return body


def encode(body: Mapping[str, Any]) -> bytes:
    """The JSON bytes of a Status, as compact as kube-apiserver's."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def problem(code: int, body: bytes) -> errors.YurtError:
    """The error for an answer with `code` (400 and above), whatever its body is."""
    found = _decode(body)
    if found is None:
        text = body[: _TEXT_LIMIT * 4].decode("utf-8", "replace").strip()[:_TEXT_LIMIT]
        if not text.isprintable():
            text = f"{len(body)} bytes that are not text"
        return errors.from_status(code, f"{code}: {text}" if text else f"{code}")
    details = found.get("details")
    after = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    reason = found.get("reason")
    return errors.from_status(
        code,
        f"{code}: {found.get('message') or reason or 'no reason given'}",
        after=float(after) if isinstance(after, int | float) and after > 0 else None,
        reason=reason if isinstance(reason, str) else "",
    )


def from_error(err: errors.YurtError) -> dict[str, Any]:
    """The Status that tells a caller about one of our errors."""
    after = getattr(err, "after", None)
    return status(
        err.code or _code(err),
        err.why,
        reason=err.reason or None,
        retry_after=None if after is None else max(1, round(after)),
    )


def _code(err: errors.YurtError) -> int:
    match err:
        case errors.BadInput():
            return 400
        case errors.Missing():
            return 404
        case errors.Conflict():
            return 409
        case errors.Gone():
            return 410
        case errors.Refused():
            return 403
        case errors.Retry():
            return 503
        case _:
            return 500


def _decode(body: bytes) -> dict[str, Any] | None:
    if body.lstrip()[:1] != b"{":
        return None
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Status" else None
