"""The two doors of the proxy: each finds out, once per connection, what its caller proved.

The pump listens; for each accepted connection it asks the door's :meth:`greet` before it looks at the first request.
"""

import asyncio
from collections.abc import Collection
from concurrent.futures import Executor
from ssl import SSLContext
from typing import Any, Final

import structlog

from yurt_hub.adapters.owners import Owners
from yurt_hub.domain.callers import LocalPolicy, Owner, Shown, judge_certificate, judge_owner

GREET_SECONDS: Final = 2.0
"""What finding an owner may take on a machine that is busy; beyond it a caller counts as unknown."""

REFUSED_KNOWN: Final = 64
"""Refused programs that are remembered, so that each is told about once."""


class LocalDoor:
    """Plain HTTP on loopback, for the node's own components: known by the process that owns the socket."""

    name = "local"

    def __init__(self, owners: Owners, policy: LocalPolicy, threads: Executor) -> None:
        self.ssl: SSLContext | None = None
        self._owners, self._policy, self._threads = owners, policy, threads
        self._refused: set[tuple[int | None, str | None]] = set()
        self._log = structlog.get_logger("door").bind(door=self.name)

    async def greet(self, transport: asyncio.Transport) -> Shown:
        """Say whether the caller is one of the node's own components."""
        near, far = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if not near or not far:
            return Shown.UNKNOWN
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(GREET_SECONDS):
                owner = await loop.run_in_executor(self._threads, self._owners.find, near[:2], far[:2])
        except (TimeoutError, OSError) as err:
            self._log.warning("caller.unseen", error=str(err) or "the look-up took too long")
            return Shown.UNKNOWN
        shown = judge_owner(owner, self._policy)
        if shown is Shown.UNKNOWN:
            self._tell(owner)
        return shown

    def _tell(self, owner: Owner | None) -> None:
        seen = owner or Owner(None)
        key = (seen.uid, seen.executable)
        first = key not in self._refused
        if first and len(self._refused) < REFUSED_KNOWN:
            self._refused.add(key)
        tell = self._log.warning if first else self._log.debug
        tell(
            "caller.refused",
            uid=seen.uid,
            pid=seen.pid,
            executable=seen.executable,
            mount_ns=seen.mount_ns,
            why=_why(owner),
        )


def _why(owner: Owner | None) -> str:
    if owner is None:
        return "no such socket in this network namespace"
    if owner.executable is None:
        return "not root's nor the hub's own, or not to be seen: in a container the hub needs hostPID and SYS_PTRACE"
    return "not on the list of components, or in another mount namespace"


class SecureDoor:
    """TLS, for callers with a token or the kubelet's certificate."""

    name = "secure"

    def __init__(self, context: SSLContext, node_name: str) -> None:
        self.ssl: SSLContext | None = context
        self._node_name = node_name

    async def greet(self, transport: asyncio.Transport) -> Shown:
        """Say what the client certificate proves; the handshake has verified it against the cluster's CA."""
        common_name, organizations = subject(transport.get_extra_info("peercert"))
        return judge_certificate(common_name, organizations, self._node_name)


def subject(certificate: dict[str, Any] | None) -> tuple[str | None, Collection[str]]:
    """Read common name and organisations of a verified certificate as Python's ssl names its parts.

    None without a certificate; an empty name when it has none, or several, of which nobody could say which one counts.
    """
    if certificate is None:
        return None, ()
    parts = [part for group in certificate.get("subject", ()) for part in group]
    common_names = [value for key, value in parts if key == "commonName"]
    organizations = [value for key, value in parts if key == "organizationName"]
    return (common_names[0] if len(common_names) == 1 else ""), organizations
