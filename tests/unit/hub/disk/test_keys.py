"""The key that Secrets are sealed with: where it comes from, and what happens when it is gone."""

import stat
from pathlib import Path

import pytest
from yurt_hub.adapters.disk import given_key, own_key
from yurtcore.errors import BadInput


def test_the_hub_makes_its_own_key_once(tmp_path: Path) -> None:
    """The first start draws 32 bytes into a file of mode 0600; the next reads the same."""
    path = tmp_path / "seal.key"
    key = own_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert own_key(path) == key
    assert own_key(tmp_path / "other.key") != key


def test_an_own_key_that_is_cut_short_is_drawn_anew(tmp_path: Path) -> None:
    """The hub starts, without the Secrets: nobody may be near to mend the file."""
    path = tmp_path / "seal.key"
    path.write_bytes(b"short")
    assert len(own_key(path)) == 32
    assert len(path.read_bytes()) == 32


def test_a_key_that_a_person_gives_is_taken_as_it_is_or_refused(tmp_path: Path) -> None:
    """A missing file or one of another size is a mistake to be told, not to be mended."""
    path = tmp_path / "given.key"
    with pytest.raises(BadInput, match="cannot read seal key"):
        given_key(path)
    path.write_bytes(b"x" * 31)
    with pytest.raises(BadInput, match="31 bytes"):
        given_key(path)
    path.write_bytes(b"x" * 32)
    assert given_key(path) == b"x" * 32


def test_a_folder_that_takes_no_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot write the seal key"):
        own_key(tmp_path / "missing" / "seal.key")
