"""What a real hub refuses, and in which words: callers without a right, and bytes that could be read in two ways."""

import asyncio
import json
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from kit.accounts import Account, Audit
from kit.hub import WITHIN, Hub, Site, ask, request
from kit.pump import Got, Wire
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

HEAD_LIMIT = 64 * 1024
ME = str(Path(sys.executable).resolve())
"""The program that runs these tests."""


def refusal(got: Got) -> str:
    """Return the message of a refusal, which is a Status of the same code."""
    said: dict[str, Any] = json.loads(got.body)
    assert (said["kind"], said["status"], said["code"]) == ("Status", "Failure", got.status)
    return str(said["message"])


async def served(site: Site, caller: Account) -> None:
    """Assert that the hub goes on serving."""
    assert (await ask(await site.hub.secure(), request("/version", token=caller.token))).status == 200


async def test_hub_083_without_a_credential_the_tls_port_says_401(site: Site) -> None:
    """The answer is the hub's own and says what to bring; the connection may be used again."""
    wire = await site.hub.secure()
    for _ in range(2):
        got = await wire.ask(request("/api/v1/namespaces/default/configmaps"))
        assert (got.status, got.headers["www-authenticate"]) == (401, "Bearer")
        assert "use a bearer token" in refusal(got)
    await wire.close()


async def test_hub_083_a_bad_token_is_refused_by_the_api_server(site: Site, plane: ControlPlane) -> None:
    """The hub passes it on, without the node's identity: the API server's 401 comes back and stands in its log."""
    audit = Audit(plane)
    got = await ask(await site.hub.secure(), request("/version/", token="bad", agent="bad-token"))
    assert (got.status, refusal(got)) == (401, "Unauthorized")
    noted = await audit.has("bad-token")
    assert (noted["responseStatus"]["code"], noted["user"]) == (401, {})


async def test_hub_083_another_nodes_certificate_is_told_to_use_a_token(site: Site, plane: ControlPlane) -> None:
    """A certificate cannot be passed on, so whoever has one is told what can; with a token beside it, it is served."""
    other = plane.node_files("another")
    wire = await site.hub.secure(other)
    got = await wire.ask(request("/api/v1/nodes/another"))
    assert got.status == 401
    assert "use a token" in refusal(got)
    await wire.close()
    wire = await site.hub.secure(plane.admin)
    assert (await wire.ask(request("/api/v1/nodes"))).status == 401, "nor is the admin's"
    await wire.close()


async def test_a_foreign_certificate_beside_a_token_does_no_harm(
    site: Site, plane: ControlPlane, caller: Account
) -> None:
    """The token alone counts."""
    audit = Audit(plane)
    wire = await site.hub.secure(plane.node_files("another"))
    assert (await ask(wire, request("/version/", token=caller.token, agent="beside"))).status == 200
    assert (await audit.has("beside"))["user"]["username"] == caller.user


async def test_hub_083_a_certificate_of_another_authority_ends_in_the_handshake(
    site: Site, plane: ControlPlane
) -> None:
    """Such a connection carries no request at all."""
    stranger = plane.pki.issue(
        "stranger", user=f"system:node:{site.node}", groups=("system:nodes",), authority="etcd-ca"
    )
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await ask(await site.hub.secure(stranger), request("/version"))


async def test_hub_083_a_program_that_is_not_on_the_list_is_not_served_on_the_plain_port(
    site: Site, caller: Account
) -> None:
    """Not even with a token; the answer says what to do, and the hub's log which program it was."""
    for token in (None, caller.token):
        got = await ask(await site.hub.plain(), request(f"/api/v1/nodes/{site.node}", token=token))
        assert got.status == 401
        assert "use a token on the TLS port" in refusal(got)
    noted = await site.hub.said("caller.refused")
    assert (noted["pid"], noted["executable"]) == (os.getpid(), ME)


async def test_a_program_that_is_on_the_list_is_the_node_on_the_plain_port(
    plane: ControlPlane, caller: Account, tmp_path: Path
) -> None:
    """Named by its path it gets the node's identity; with a token of its own it keeps the token's."""
    audit = Audit(plane)
    flags = {"components": ME}
    async with Site(plane, tmp_path / "site", node="listed", flags=flags) as site:
        for agent, token in (("listed-node", None), ("listed-token", caller.token)):
            got = await ask(await site.hub.plain(), request("/version/", token=token, agent=agent))
            assert got.status == 200
        assert (await audit.has("listed-node"))["user"]["username"] == "system:node:listed"
        assert (await audit.has("listed-token"))["user"]["username"] == caller.user


def chunked(target: str, token: str, body: bytes, *headers: str) -> bytes:
    """Return a POST whose chunked body is whatever the test says."""
    return request(target, "Transfer-Encoding: chunked", *headers, method="POST", token=token) + body


AMBIGUOUS = {
    "two lengths": ("POST", ("Content-Length: 3", "Content-Length: 4"), b"abcd"),
    "a list of lengths": ("POST", ("Content-Length: 3, 4",), b"abcd"),
    "length and chunks": ("POST", ("Content-Length: 3", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "a signed length": ("POST", ("Content-Length: +3",), b"abc"),
    "an unknown coding": ("POST", ("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n"),
    "a coding twice": ("POST", ("Transfer-Encoding: chunked, chunked",), b"0\r\n\r\n"),
    "a folded line": ("GET", ("X-A: 1\r\n 2",), b""),
    "a blank before the colon": ("GET", ("Content-Length : 3",), b"abc"),
    "a bare line feed": ("GET", ("X-A: 1\nX-B: 2",), b""),
    "a zero byte": ("GET", ("X-A: \0",), b""),
    "two hosts": ("GET", ("Host: other",), b""),
}


async def last_words(wire: Wire, sent: bytes) -> Got:
    """Send something, read the answer, and see that the hub ends the connection."""
    try:
        got = await wire.ask(sent)
        assert await wire.ended()
    finally:
        await wire.close()
    return got


async def test_heads_that_two_servers_could_read_in_two_ways_go_nowhere(
    site: Site, plane: ControlPlane, caller: Account
) -> None:
    """Each gets 400 (or 501 for a coding) and the end; the API server sees nothing of it, nor of what followed."""
    audit = Audit(plane)
    smuggled = request("/version/", token=caller.token, agent="ambiguous-smuggled")
    async with asyncio.TaskGroup() as group:
        asked = {
            what: group.create_task(
                last_words(
                    await site.hub.secure(),
                    request("/version/", *headers, method=method, token=caller.token, agent="ambiguous")
                    + body
                    + smuggled,
                )
            )
            for what, (method, headers, body) in AMBIGUOUS.items()
        }
    for what, one in asked.items():
        got = one.result()
        assert got.status in (400, 501), (what, got)
        assert refusal(got)
        assert got.headers["connection"] == "close"
    await ask(await site.hub.secure(), request("/version/", token=caller.token, agent="after"))
    await audit.has("after")
    assert not audit.by("ambiguous")


BROKEN = [
    b"x\r\n",
    b"-1\r\n",
    b"1\r\nab\r\n",
    b"1;a=\0\r\na\r\n",
    b"1\na\n0\n\n",
    b"fffffffffffffffff\r\n",
    b"0x1\r\na\r\n",
]


async def test_bodies_with_bad_chunks_are_refused(site: Site, caller: Account) -> None:
    """Each gets 400 that says so, then the connection ends; whoever comes next is served."""
    target = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    async with asyncio.TaskGroup() as group:
        asked = {
            body: group.create_task(
                last_words(
                    await site.hub.secure(), chunked(target, caller.token, body, "Content-Type: application/json")
                )
            )
            for body in BROKEN
        }
    for body, one in asked.items():
        assert one.result().status == 400, body
        assert "chunked" in refusal(one.result())
    await served(site, caller)


async def test_chunks_that_turn_bad_on_the_way_never_become_an_object(
    site: Site, plane: ControlPlane, caller: Account
) -> None:
    """A body that begins well and breaks later is refused too, and leaves no half object behind."""
    target = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    whole = json.dumps({"metadata": {"name": "broken"}}).encode()
    wire = await site.hub.secure()
    wire.writer.write(
        chunked(target, caller.token, b"%x\r\n%b\r\n" % (len(whole), whole), "Content-Type: application/json")
    )
    await wire.writer.drain()
    wire.writer.write(b"not a size\r\n")
    got = await wire.answer()
    assert got.status == 400
    await wire.close()
    gone = await ask(await site.hub.secure(), request(f"{target}/broken", token=caller.token))
    assert gone.status == 404


@pytest.mark.parametrize("whole", [True, False])
async def test_a_head_over_the_limit_is_431(site: Site, caller: Account, whole: bool) -> None:  # noqa: FBT001
    """Whether it is complete or would go on for ever."""
    sent = request("/version", f"X-Long: {'x' * HEAD_LIMIT}", token=caller.token)
    got = await last_words(await site.hub.secure(), sent if whole else sent[:-4])
    assert got.status == 431
    assert refusal(got)
    await served(site, caller)


async def test_slow_heads_are_408_on_both_ports(site: Site, caller: Account) -> None:
    """Whoever does not finish a head in ten seconds is told so and hung up on, drop by drop or in silence."""
    before = (await site.hub.metrics()).get('yurt_hub_refused_total{reason="slow_head"}', 0)
    begun = request("/version", token=caller.token)[:-2]

    async def stalled(wire: Wire, *, drops: bool) -> Got:
        wire.writer.write(begun)
        answer = asyncio.get_running_loop().create_task(wire.answer())
        while drops and not answer.done():
            wire.writer.write(b"X: y\r\n")
            await asyncio.wait([answer], timeout=1)
        got = await answer
        assert await wire.ended()
        await wire.close()
        return got

    async with asyncio.TaskGroup() as group:
        told = [
            group.create_task(stalled(await door(), drops=drops))
            for door in (site.hub.secure, site.hub.plain)
            for drops in (False, True)
        ]
    for one in told:
        assert one.result().status == 408
        assert "did not arrive within" in refusal(one.result())
    assert (await site.hub.metrics())['yurt_hub_refused_total{reason="slow_head"}'] == before + 4


async def test_more_connections_than_allowed_are_closed_as_they_come(
    plane: ControlPlane, caller: Account, tmp_path: Path
) -> None:
    """Those that are open go on; as soon as one leaves, the next is served."""
    flags = {"limits-clients": "3"}
    async with Site(plane, tmp_path / "site", node="narrow", flags=flags) as site:
        asked = request("/version", token=caller.token)
        wires = [await site.hub.secure() for _ in range(3)]
        for wire in wires:
            assert (await wire.ask(asked)).status == 200
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await ask(await site.hub.secure(), asked)
        assert (await site.hub.metrics())['yurt_hub_refused_total{reason="too_many_clients"}'] == 1
        for wire in wires:
            assert (await wire.ask(asked)).status == 200
        await wires.pop().close()
        async with asyncio.timeout(WITHIN):
            while not await answered(site.hub, asked):
                pass
        for wire in wires:
            await wire.close()


async def answered(hub: Hub, asked: bytes) -> bool:
    """Say whether a new connection is served."""
    try:
        return (await ask(await hub.secure(), asked)).status == 200
    except (OSError, asyncio.IncompleteReadError):
        return False
