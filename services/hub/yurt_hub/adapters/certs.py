"""Certificate files: read with a one-line reason when they are wrong, and again when they change.

Nothing here makes certificates; the kubelet and whoever issues the serving pair replace the files, and new connections
use what the files then hold. A pair that is half replaced, or broken, leaves the former one in use.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog
from yurtcore.errors import BadInput

WATCH_SECONDS: Final = 10.0
"""How soon replaced files are noticed; the kubelet renews its certificate weeks before the old one ends."""

_log = structlog.get_logger("certs")


def check_authorities(ca_file: Path) -> None:
    """Refuse a file that holds no usable CA certificates."""
    _client_verifier(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ca_file)


def check_pair(cert_file: Path, key_file: Path, *, flags: str) -> None:
    """Refuse a certificate and key that cannot be used together; ``flags`` names the options they come from."""
    for file in {cert_file, key_file}:
        _readable(file, flags)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password=_no_password)
    except ssl.SSLError as err:
        why = "do not belong together" if err.reason == "KEY_VALUES_MISMATCH" else "are not a PEM certificate and key"
        raise BadInput(f"{cert_file} and {key_file} {why}; give a matching pair by {flags}") from err


def serving_context(cert_file: Path, key_file: Path, ca_file: Path) -> ssl.SSLContext:
    """TLS for callers: HTTP/1.1 only, a client certificate is asked for and, if shown, must be the cluster's.

    Sessions are never resumed: what a certificate proves is proved anew on each connection.
    """
    check_pair(cert_file, key_file, flags="--tls-cert-file and --tls-private-key-file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF
    context.load_cert_chain(cert_file, key_file)
    _client_verifier(context, ca_file)
    return context


def renew(context: ssl.SSLContext, cert_file: Path, key_file: Path, ca_file: Path) -> None:
    """Let new connections use what the files hold now; raises BadInput and changes nothing when they are wrong.

    Authorities are added; one that was taken out of the file stays trusted until the hub starts anew.
    """
    serving_context(cert_file, key_file, ca_file)
    context.load_cert_chain(cert_file, key_file)
    context.load_verify_locations(ca_file)


class Watched:
    """Files that are looked at from time to time, and what to do when one of them was replaced."""

    def __init__(self, files: Iterable[Path], renew: Callable[[], None]) -> None:
        self._files, self._renew = tuple(files), renew
        self._marks = self._look()
        self._failed = False

    def look(self) -> None:
        """Renew if a file was replaced; what cannot be used yet is tried again at the next look."""
        marks = self._look()
        if None in marks or marks == self._marks:
            return
        files = [str(file) for file in self._files]
        try:
            self._renew()
        except (BadInput, OSError) as err:
            tell = _log.debug if self._failed else _log.warning
            tell("certificates.unusable", files=files, error=str(err))
            self._failed = True
            return
        self._marks, self._failed = marks, False
        _log.info("certificates.renewed", files=files)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_mark(file) for file in self._files)


async def keep_fresh(watched: Iterable[Watched], *, every: float = WATCH_SECONDS) -> None:
    """Look at the files every so many seconds, for ever."""
    watched = tuple(watched)
    while True:
        await asyncio.sleep(every)
        for files in watched:
            files.look()


def _mark(file: Path) -> tuple[int, int, int] | None:
    try:
        seen = file.stat()
    except OSError:
        return None
    return (seen.st_ino, seen.st_mtime_ns, seen.st_size)


def _client_verifier(context: ssl.SSLContext, ca_file: Path) -> None:
    _readable(ca_file, "--ca-file")
    context.verify_mode = ssl.CERT_OPTIONAL
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as err:
        raise BadInput(f"{ca_file} holds no PEM certificate; give the cluster's CA by --ca-file") from err


def _readable(file: Path, flags: str) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as err:
        raise BadInput(f"cannot read {file}: {err.strerror}; see {flags}") from err


def _no_password() -> str:
    """Stand in for OpenSSL's question on the terminal: an encrypted key is an error, not a halt."""
    raise BadInput("the private key is encrypted; the hub needs one without a password")
