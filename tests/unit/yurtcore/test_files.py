"""A file is whole or absent."""

import stat
from pathlib import Path

import pytest
from yurtcore.adapters.files import read, write_atomic
from yurtcore.errors import BadInput


def test_a_written_file_is_private_and_alone(tmp_path: Path) -> None:
    write_atomic(tmp_path / "token", "abc")
    assert (tmp_path / "token").read_bytes() == b"abc"
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_new_content_and_mode_replace_the_old_ones(tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", b"old, and longer")
    write_atomic(tmp_path / "f", b"new", mode=0o644)
    assert (tmp_path / "f").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o644


def test_who_holds_the_old_file_open_reads_it_to_its_end(tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", b"old")
    with (tmp_path / "f").open("rb") as held:
        write_atomic(tmp_path / "f", b"new")
        assert held.read() == b"old"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "f", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^cannot read CA file .*/ca.crt: No such file or directory$"):
        read(tmp_path / "ca.crt", what="CA file")


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read(tmp_path / "f", limit=5) == b"12345"
    with pytest.raises(BadInput, match="larger than 4 bytes"):
        read(tmp_path / "f", limit=4)
