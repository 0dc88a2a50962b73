"""Secrets at rest: values sealed with a key that stays beside the store, not in it.

ChaCha20-Poly1305: the small processors at edges often lack AES instructions, and without them it is several times
faster and takes the same time for every input. The record's key is bound in, so a sealed value can't be passed off as
that of another object. Whoever reads the key file can read the Secrets: sealing guards copies of the store (backups,
discarded cards, support bundles), not the running node.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yurtcore.adapters import files
from yurtcore.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEY: Final = 32
"""Bytes of a key."""
NONCE: Final = 12
SEALED: Final = NONCE + 16
"""Bytes that sealing adds."""


class Sealer:
    """Seals and opens values. The cipher is loaded with the first secret: 10 MiB that many nodes never need."""

    def __init__(self, key: bytes, *, chance: Callable[[int], bytes] = os.urandom) -> None:
        self.chance = chance
        """Where random bytes come from: the nonces here, and what marks a new log."""
        self._key = key
        self._cipher: ChaCha20Poly1305 | None = None

    def seal(self, name: bytes, value: bytes) -> bytes:
        """Return `value` sealed for the record called `name`."""
        nonce = self.chance(NONCE)
        return nonce + self._loaded().encrypt(nonce, value, name)

    def unseal(self, name: bytes, sealed: bytes) -> bytes | None:
        """Return what `seal` was given; None if that was with another key or name, or the bytes were changed."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 (see the class)

        if len(sealed) < SEALED:
            return None
        try:
            return self._loaded().decrypt(sealed[:NONCE], sealed[NONCE:], name)
        except InvalidTag:
            return None

    def _loaded(self) -> "ChaCha20Poly1305":
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415 (see the class)

            self._cipher = ChaCha20Poly1305(self._key)
        return self._cipher


def own_key(path: Path) -> bytes:
    """The key in this hub's own file, mode 0600; drawn and written there if the file is missing or holds no key.

    A new key can't open what an old one sealed: those records are dropped when the log is loaded, and named.
    Raises BadInput if the file can't be read or written.
    """
    if path.exists():
        key = files.read(path, what="seal key")
        if len(key) == KEY:
            return key
    key = os.urandom(KEY)
    try:
        files.write_atomic(path, key, mode=0o600)
    except OSError as err:
        raise BadInput(f"cannot write the seal key {path}: {err.strerror or err}") from err
    return key


def given_key(path: Path) -> bytes:
    """The key in a file that a person named; BadInput if it can't be read or isn't 32 bytes."""
    key = files.read(path, what="seal key")
    if len(key) != KEY:
        raise BadInput(
            f"the seal key {path} has {len(key)} bytes; it must have {KEY}: head -c 32 /dev/urandom > {path}"
        )
    return key
