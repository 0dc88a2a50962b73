"""Errors that we raise on purpose, by what the caller can do next.

    YurtError
    ├── Retry       try again later; nothing was changed
    ├── Conflict    somebody was faster; read again, then decide again
    ├── Gone        the place to resume from no longer exists; start over with a list
    ├── Refused     repeating will not help; tell the owner
    │   └── Missing the object or path does not exist
    └── BadInput    a person's input is wrong: one line, exit code 2

Adapters translate their drivers' errors into these at the door (`raise … from err`).
"""


class YurtError(Exception):
    """Root of everything we raise on purpose.

    `why` names the object, the intention and the next step in one line; `code` is the HTTP status that caused it, if
    one did, and `reason` the machine-readable word of a Kubernetes `Status` ("" when none was given).
    """

    def __init__(self, why: str, *, code: int | None = None, reason: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.code = code
        self.reason = reason


class Retry(YurtError):
    """Try again later; nothing was changed. `after` is the wait in seconds that the other side asked for."""

    def __init__(self, why: str, after: float | None = None, *, code: int | None = None, reason: str = "") -> None:
        super().__init__(why, code=code, reason=reason)
        self.after = after


class Conflict(YurtError):
    """Somebody was faster; read again, then decide again. Also: the name is taken (`reason` AlreadyExists)."""


class Gone(YurtError):
    """The version to resume from is no longer kept; list again."""


class Refused(YurtError):
    """Repeating will not help; tell the owner."""


class Missing(Refused):
    """The object or path does not exist."""


class BadInput(YurtError, ValueError):
    """A person's input is wrong. The message is one line that says what and what to do; programs exit with 2.

    It is a ValueError too, so that validators of settings may raise it.
    """


def from_status(code: int, why: str, *, after: float | None = None, reason: str = "") -> YurtError:
    """The error for an HTTP status `code` (400 and above); `after` is kept where waiting makes sense."""
    match code:
        case 404:
            return Missing(why, code=code, reason=reason)
        case 409:
            return Conflict(why, code=code, reason=reason)
        case 410:
            return Gone(why, code=code, reason=reason)
        case 408 | 429 | 500 | 502 | 503 | 504:
            return Retry(why, after, code=code, reason=reason)
        case _:
            return Refused(why, code=code, reason=reason)
