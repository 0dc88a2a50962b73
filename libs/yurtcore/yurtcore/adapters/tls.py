"""TLS contexts for clients, from PEM bytes."""

import contextlib
import os
import ssl
from collections.abc import Iterator

from yurtcore.errors import BadInput


def client_context(ca: bytes | None, cert: bytes | None, key: bytes | None) -> ssl.SSLContext:
    """Verifies the server against `ca` (default: the system's) and shows `cert` if there is one.

    Raises BadInput when the PEM texts are no certificates, or the key is not that of the certificate.
    """
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
    except (ssl.SSLError, ValueError) as err:
        raise BadInput("the CA is not a PEM certificate") from err
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert:
        _show(context, cert, key or cert)
    return context


def _show(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Load the pair; the binding to OpenSSL takes files only, so these two live in memory and never on a disk."""
    with _memory_file("cert", cert) as cert_path, _memory_file("key", key) as key_path:
        try:
            context.load_cert_chain(cert_path, key_path)
        except ssl.SSLError as err:
            raise BadInput("the client certificate and its key are not a PEM pair that fits") from err


@contextlib.contextmanager
def _memory_file(name: str, data: bytes) -> Iterator[str]:
    fd = os.memfd_create(name)
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
