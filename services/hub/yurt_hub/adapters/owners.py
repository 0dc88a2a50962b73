"""Who owns the far end of a local TCP connection: the kernel says which user and socket, /proc says which program.

The kernel is asked by netlink (sock_diag, ``linux/inet_diag.h``) for the one socket whose addresses are the
connection's, turned round. It looks only into the hub's own network namespace, so a caller from a pod's namespace has
no owner here, whatever addresses it uses. Nothing is kept between connections but a list of processes worth looking at
first; whether one of them holds the socket, and what it runs, is read anew each time, through one open folder of /proc,
which stays that process's and turns empty when it ends: a reused pid is never taken for its predecessor.
"""

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from yurt_hub.domain.callers import LocalPolicy, Owner, on_list

Address = tuple[str, int]
"""Host and port, as a socket names its ends (an IPv6 scope is left out)."""

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_ENOENT: Final = 2
_ANY_STATE: Final = 0xFFFFFFFF
_NO_COOKIE: Final = b"\xff" * 8

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_REQUEST: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_ENDS: Final = struct.Struct("!HH16s16s")  # our port, peer's port, our address, peer's address
_ANSWER: Final = struct.Struct("=BBBB48sIIIII")  # family, state, timer, retransmits, ends, expires, queues, uid, inode
_TIMEOUT: Final = struct.pack("@ll", 1, 0)
"""The kernel answers in microseconds; a second guards against one that does not."""

SCAN_SECONDS: Final = 0.05
"""What a search through all processes may take; it only serves to name a caller that is refused anyway."""


class Owners:
    """Finds owners; every call blocks for some tens of microseconds and belongs into a thread."""

    def __init__(self, policy: LocalPolicy) -> None:
        self._policy = policy
        self._hints: tuple[int, ...] = ()

    def find(self, near: Address, far: Address) -> Owner | None:
        """Say who owns the socket whose own address is ``far`` and whose peer is ``near``; None when there is none."""
        seen = ask_kernel(far, near)
        if seen is None:
            return None
        uid, inode = seen
        if uid not in self._policy.uids:
            return Owner(uid)
        held = f"socket:[{inode}]"
        for pid in self._hints:
            if owner := _holder(pid, uid, held):
                return self._first(pid, owner)
        known, self._hints = self._hints, tuple(self._listed())
        for pid in self._hints:
            if pid not in known and (owner := _holder(pid, uid, held)):
                return self._first(pid, owner)
        deadline = time.monotonic() + SCAN_SECONDS
        for pid in _pids():
            if pid not in self._hints and (owner := _holder(pid, uid, held)):
                return owner
            if time.monotonic() > deadline:
                break
        return Owner(uid)

    def _first(self, pid: int, owner: Owner) -> Owner:
        """Look at this process first next time: who has connected connects again."""
        if self._hints[0] != pid:
            self._hints = (pid, *(other for other in self._hints if other != pid))
        return owner

    def _listed(self) -> Iterator[int]:
        """Name the processes that run something on the list; they are few, so their sockets are looked at first."""
        for pid in _pids():
            try:
                program = str(Path(f"/proc/{pid}/exe").readlink())
            except OSError:
                continue
            if on_list(program.removesuffix(" (deleted)"), self._policy.executables):
                yield pid


def local_policy(executables: Iterable[str]) -> LocalPolicy:
    """Describe the node's own components as this process can recognise them."""
    me = os.geteuid()
    spaces = {str(Path("/proc/self/ns/mnt").readlink())}
    hidden: frozenset[int] = frozenset()
    try:
        spaces.add(str(Path("/proc/1/ns/mnt").readlink()))
    except OSError:
        hidden = frozenset({0} - {me})
    return LocalPolicy(
        uids=frozenset({0, me}),
        executables=tuple(executables),
        mount_namespaces=frozenset(spaces),
        hidden_uids=hidden,
    )


def self_test() -> str | None:
    """Say why local callers cannot be told apart on this machine; None when they can."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        try:
            seen = ask_kernel(ours.getsockname(), server.getsockname())
        except OSError as err:
            return f"the kernel does not say who owns a socket ({err.strerror})"
        inode = os.fstat(ours.fileno()).st_ino
        return None if seen == (os.geteuid(), inode) else "the kernel does not say who owns a socket (no inet_diag)"


def ask_kernel(ours: Address, peer: Address) -> tuple[int, int] | None:
    """Look up one connected TCP socket by its two ends; return its (uid, inode), None when there is none.

    A socket that its process has closed already has no owner any more (the kernel would report root's uid).
    """
    left, right = _plain(ours[0]), _plain(peer[0])
    if left.version != right.version:
        return None
    family = socket.AF_INET if left.version == 4 else socket.AF_INET6
    ends = _ENDS.pack(ours[1], peer[1], left.packed, right.packed)
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE) + ends + bytes(4) + _NO_COOKIE
    head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        kernel.sendto(head + body, (0, 0))
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if error == _ENOENT:
            return None
        raise OSError(error, "the kernel refuses to look up a socket")
    fields = _ANSWER.unpack_from(answer, _HEADER.size)
    uid, inode = fields[8], fields[9]
    # without a connected socket the kernel offers a listening one on the same port
    if inode == 0 or not _same_ends(fields[0], fields[4], (left, ours[1]), (right, peer[1])):
        return None
    return uid, inode


def _same_ends(family: int, ends: bytes, ours: tuple[object, int], peer: tuple[object, int]) -> bool:
    our_port, peer_port, our_bytes, peer_bytes = _ENDS.unpack_from(ends)
    size = 4 if family == socket.AF_INET else 16
    return (_plain(our_bytes[:size]), our_port) == ours and (_plain(peer_bytes[:size]), peer_port) == peer


def _plain(address: str | bytes) -> IPv4Address | IPv6Address:
    """Read an address; an IPv4 address in IPv6 clothes is the IPv4 address."""
    found = ip_address(address.partition("%")[0] if isinstance(address, str) else address)
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _pids() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)


def _holder(pid: int, uid: int, held: str) -> Owner | None:
    """Describe a process if it holds a socket; None when it does not, or when it may not be looked at."""
    try:
        home = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        if not _holds(home, held):
            return None
        return Owner(uid, pid, _program(home), _link(home, "ns/mnt"))
    except OSError:
        return None
    finally:
        os.close(home)


def _holds(home: int, held: str) -> bool:
    fds = os.open("fd", os.O_RDONLY | os.O_DIRECTORY, dir_fd=home)
    try:
        with os.scandir(fds) as entries:
            names = [entry.name for entry in entries]
        # a connection of this moment has one of the last numbers
        return any(_link(fds, name) == held for name in reversed(names))
    finally:
        os.close(fds)


def _program(home: int) -> str | None:
    path = _link(home, "exe")
    return None if path is None else path.removesuffix(" (deleted)")


def _link(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None
