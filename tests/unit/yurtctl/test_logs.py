"""Logs: the last lines, and what comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurtcore.errors import Missing
from yurtctl import logs
from yurtctl.folder import Folder
from yurtctl.record import Process, Site


@given(
    lines=st.lists(st.text("abcä ", max_size=5), max_size=30),
    count=st.integers(0, 40),
    block=st.integers(1, 20),
    whole=st.booleans(),
)
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int, block: int, *, whole: bool
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    text = "\n".join(lines) + ("\n" if whole and lines else "")
    log.write_text(text)
    expected = text.encode().splitlines()
    assert [line.encode() for line in logs.tail(log, count, block)] == (expected[-count:] if count else [])


def test_the_tail_of_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert logs.tail(tmp_path / "none", 5) == []


def test_new_lines_come_whole_and_a_cut_file_starts_afresh(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("old\n")

    def acts() -> Iterator[bool]:
        with a.open("a") as log:
            log.write("one\ntw")
            log.flush()
            yield True
            log.write("o\n")
        b.write_text("first of b\n")
        yield True
        a.write_text("x\n")
        yield True
        yield False

    act = acts()
    got = list(logs.follow({"a": a, "b": b}, lambda: next(act)))
    assert got == [("a", "one"), ("a", "two"), ("b", "first of b"), ("a", "x")]


def test_a_process_is_chosen_by_name_and_all_by_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "site")
    folder.prepare()
    site = Site(phase="ready", processes=[Process("etcd", str(tmp_path / "etcd.log")), Process("hub-n", "/none")])
    folder.write(site)
    (tmp_path / "etcd.log").touch()
    assert logs.choose(folder, "hub-n") == {"hub-n": Path("/none")}
    assert logs.choose(folder, None) == {"etcd": tmp_path / "etcd.log"}
    with pytest.raises(Missing, match="etcd, hub-n, supervisor"):
        logs.choose(folder, "nope")
