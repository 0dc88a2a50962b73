"""What a caller can do next follows from the status."""

import pytest
from yurtcore import errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, errors.Refused),
        (401, errors.Refused),
        (403, errors.Refused),
        (404, errors.Missing),
        (408, errors.Retry),
        (409, errors.Conflict),
        (410, errors.Gone),
        (422, errors.Refused),
        (429, errors.Retry),
        (500, errors.Retry),
        (501, errors.Refused),
        (503, errors.Retry),
        (504, errors.Retry),
    ],
)
def test_each_status_says_what_to_do_next(code: int, kind: type[errors.YurtError]) -> None:
    err = errors.from_status(code, "pods x: no", reason="R")
    assert (type(err), err.code, err.reason, err.why, str(err)) == (kind, code, "R", "pods x: no", "pods x: no")


def test_a_wait_that_the_server_asked_for_is_kept() -> None:
    err = errors.from_status(429, "slow down", after=3.0)
    assert isinstance(err, errors.Retry)
    assert err.after == 3.0


def test_a_persons_input_may_be_refused_inside_a_validator() -> None:
    """Pydantic turns only ValueErrors of validators into its own, so BadInput is one."""
    assert issubclass(errors.BadInput, ValueError)
