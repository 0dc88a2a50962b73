"""Every log line is one record, and no credential gets into it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from yurtcore.serve import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_one_line_of_json(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream=stream)
    structlog.get_logger().info("link.changed", url="https://a:1", now="down", misses=2)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "link.changed", "level": "info", "url": "https://a:1", "now": "down", "misses": 2}


def test_records_of_libraries_take_the_same_way(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream=stream)
    logging.getLogger("some.library").warning("odd %s", "thing")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["logger"]) == ("odd thing", "warning", "some.library")


def test_an_error_brings_its_traceback_in_the_same_line(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("job.failed")
    (text,) = stream.getvalue().splitlines()
    assert json.loads(text)["exception"][0]["exc_value"] == "broken"


def test_text_is_for_people(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream=stream)
    structlog.get_logger().info("link.changed", now="down")
    assert "link.changed" in stream.getvalue()
    assert "now=down" in stream.getvalue()


@pytest.mark.parametrize("fmt", ["json", "text"])
def test_credentials_are_masked_wherever_they_stand(stream: io.StringIO, fmt: str) -> None:
    logs.set_up("info", fmt, stream=stream)
    structlog.get_logger().info(
        "caller.known",
        token="hunter2",
        headers={"Authorization": "Bearer hunter2hunter2", "x": ["Basic aHVudGVyMjpodW50ZXIy"]},
        user={"client_secret": ["hunter2"], "password": "hunter2"},
        said="sent authorization: bearer hunter2hunter2",
    )
    logging.getLogger("lib").info("GET / Authorization: Bearer hunter2hunter2")
    assert "hunter2" not in stream.getvalue()
    assert "aHVudGVy" not in stream.getvalue()
    assert stream.getvalue().count("********") == 7


def test_what_only_counts_credentials_is_shown(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream=stream)
    structlog.get_logger().info("cache.swept", tokens=3, secret=True)
    line = json.loads(stream.getvalue())
    assert (line["tokens"], line["secret"]) == (3, True)


def test_the_level_can_be_changed_while_running(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream=stream)
    log = structlog.get_logger()
    log.debug("first")
    logs.set_level("debug")
    assert logs.level() == "debug"
    log.debug("second")
    logs.set_level("error")
    log.warning("third")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["second"]


def test_chatter_of_the_http_libraries_stays_out(stream: io.StringIO) -> None:
    logs.set_up("debug", "json", stream=stream)
    logging.getLogger("aiohttp.client").debug("body: secret things")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert stream.getvalue() == ""
