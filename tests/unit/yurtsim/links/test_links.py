"""Links with real sockets: what goes through, what hangs, what is reset, and what is counted."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from typing import Any

import pytest
from yurtcore.errors import BadInput, Missing
from yurtsim.links import Links
from yurtsim.links.pipes import LIMIT

BLOCK = bytes(range(256)) * 16


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"beat") -> bytes:
    writer.write(data)
    async with asyncio.timeout(20):
        return await reader.readexactly(len(data))


async def turns(connect: Any, links: Links, cloud: Any) -> None:
    """Let the loop and the kernel do all they would: a round trip over a whole link beside the cut one."""
    port = links.add(f"probe-{len(links.show())}", cloud.address)
    was, cloud.echoes = cloud.echoes, True
    pair = await connect(port)
    for _ in range(3):
        await echoed(*pair)
    cloud.echoes = was


def state(links: Links, name: str = "a") -> dict:
    return links.show(name)[0]


def fill(sock: socket.socket) -> int:
    """Send until the kernel takes no more."""
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except BlockingIOError:
        return sent


async def test_bytes_and_connections_are_counted_by_direction(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address, node="n1", pool="p")
    first, second = await connect(port), await connect(port)
    await echoed(*first, b"x" * 1000)
    cloud.echoes = False
    third = await connect(port)
    third[1].write(b"only up")
    reader, _ = await cloud.came.get()
    await reader.readexactly(7)
    assert state(links) == {
        "name": "a",
        "node": "n1",
        "pool": "p",
        "listen": f"127.0.0.1:{port}",
        "target": cloud.address,
        "state": "up",
        "open": 3,
        "total": 3,
        "held": 0,
        "bytes": {"up": 1007, "down": 1000},
    }
    second[1].write_eof()
    assert await second[0].read() == b""
    assert (state(links)["open"], state(links)["total"]) == (2, 3)


async def test_a_half_close_goes_through_as_one(links: Links, cloud: Any, connect: Any) -> None:
    cloud.echoes = False
    reader, writer = await connect(links.add("a", cloud.address))
    writer.write(b"question")
    writer.write_eof()
    far_reader, far_writer = await cloud.came.get()
    assert await far_reader.read() == b"question"
    far_writer.write(b"answer" * 100_000)
    await far_writer.drain()
    far_writer.close()
    assert await reader.read() == b"answer" * 100_000


async def test_200_connections_carry_their_own_bytes(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    pairs = [await connect(port) for _ in range(200)]

    async def one(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = number.to_bytes(4) * 5000
        assert await echoed(reader, writer, data) == data

    async with asyncio.TaskGroup() as group:
        for number, pair in enumerate(pairs):
            group.create_task(one(number, *pair))
    assert state(links)["open"] == 200
    assert state(links)["bytes"] == {"up": 4_000_000, "down": 4_000_000}


async def test_a_black_hole_is_silent_and_a_heal_delivers_what_was_held(links: Links, cloud: Any, connect: Any) -> None:
    pair = await connect(links.add("a", cloud.address))
    await echoed(*pair)
    links.cut("a")
    pair[1].write(b"held")
    await turns(connect, links, cloud)
    assert state(links)["bytes"] == {"up": 4, "down": 4}
    assert state(links)["state"] == "blackhole"
    assert not pair[0].at_eof()
    links.heal("a")
    async with asyncio.timeout(20):
        assert await pair[0].readexactly(4) == b"held"


async def test_in_a_black_hole_a_sender_sees_its_window_fill(links: Links, cloud: Any) -> None:
    port = links.add("a", cloud.address)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"beat")
        assert await loop.sock_recv(sock, 100) == b"beat"
        links.cut()
        sent = fill(sock)
        assert fill(sock) == 0
        assert state(links)["bytes"]["up"] == 4
        links.heal()
        got = 0
        while got < sent:
            got += len(await loop.sock_recv(sock, 1 << 20))
        assert got == sent


async def test_a_silent_peer_is_missed_only_after_the_heal(links: Links, cloud: Any, connect: Any) -> None:
    """Whoever goes away during a black hole is still there for the other side until the link is whole."""
    cloud.echoes = False
    _, writer = await connect(links.add("a", cloud.address))
    far_reader, _ = await cloud.came.get()
    links.cut()
    writer.write(b"last words")
    writer.close()
    await turns(connect, links, cloud)
    assert state(links)["open"] == 1
    assert not far_reader.at_eof()
    links.heal()
    async with asyncio.timeout(20):
        assert await far_reader.read() == b"last words"


async def test_nobody_gets_into_a_black_hole_before_the_heal(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    links.cut()
    waiting = [asyncio.get_running_loop().create_task(connect(port)) for _ in range(5)]
    await turns(connect, links, cloud)
    assert not any(task.done() for task in waiting)
    assert state(links)["total"] == 0
    links.heal()
    for task in waiting:
        pair = await task
        assert await echoed(*pair) == b"beat"
    assert state(links)["total"] == 5


async def test_cuts_and_heals_in_turn_open_and_shut_the_door(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    for _ in range(20):
        links.cut()
        links.cut()
        links.heal()
        assert await echoed(*await connect(port)) == b"beat"


async def test_order_survives_any_number_of_cuts(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    reader, writer = await connect(port)
    dice = random.Random(7)  # noqa: S311
    data = dice.randbytes(8_000_000)
    hows = itertools.cycle(
        [("blackhole", {}), ("oneway", {"way": "up"}), ("delay", {"ms": 1}), ("oneway", {"way": "down"})]
    )

    async def send() -> None:
        for start in range(0, len(data), 100_000):
            writer.write(data[start : start + 100_000])
            await writer.drain()
        writer.write_eof()

    got = bytearray()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(send())
        while piece := await reader.read(dice.randrange(1, 300_000)):
            got += piece
            how, numbers = next(hows)
            links.cut("a", how, **numbers)
            await asyncio.sleep(0)
            assert state(links)["held"] <= 2 * LIMIT
            links.heal("a")
    assert got == data


async def test_a_reset_ends_what_is_open_and_what_comes(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    cloud.echoes = False
    reader, _ = await connect(port)
    far_reader, _ = await cloud.came.get()
    links.cut("a", "reset")
    for end in (reader, far_reader):
        with pytest.raises(ConnectionResetError):
            await end.read()
    with pytest.raises(ConnectionResetError):
        await (await connect(port))[0].read()
    assert state(links)["open"] == 0
    cloud.echoes = True
    links.heal()
    assert await echoed(*await connect(port)) == b"beat"


@pytest.mark.parametrize("way", ["up", "down"])
async def test_one_way_silences_one_direction_alone(links: Links, cloud: Any, connect: Any, way: str) -> None:
    cloud.echoes = False
    near = await connect(links.add("a", cloud.address))
    far = await cloud.came.get()
    links.cut("a", "oneway", way=way)
    (quiet, hears), (other, listens) = (near[1], far[0]), (far[1], near[0])
    if way == "down":
        (quiet, hears), (other, listens) = (other, listens), (quiet, hears)
    quiet.write(b"late")
    other.write(b"soon")
    assert await listens.readexactly(4) == b"soon"
    assert state(links)["bytes"][way] == 0
    assert state(links)["state"] == f"oneway {way}"
    links.heal()
    assert await hears.readexactly(4) == b"late"


async def test_a_delay_is_paid_in_each_direction_and_for_the_handshake(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    links.cut("a", "delay", ms=40)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    pair = await connect(port)
    await echoed(*pair)
    made = loop.time()
    await echoed(*pair)
    assert 0.16 <= made - begun < 5
    assert 0.08 <= loop.time() - made < 5


async def test_what_fits_the_window_is_delayed_together(links: Links, cloud: Any, connect: Any) -> None:
    """A delay is not a rate: a window's bytes arrive after one delay, however many pieces they come in."""
    pair = await connect(links.add("a", cloud.address))
    await echoed(*pair)
    links.cut("a", "delay", ms=100)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(40):
        pair[1].write(BLOCK)
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await pair[0].readexactly(len(BLOCK) * 40)
    assert 0.2 <= loop.time() - begun < 40 * 0.1


async def test_a_rate_is_kept_for_the_link_as_a_whole(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    cloud.echoes = False
    pairs = [await connect(port) for _ in range(4)]
    fars = [await cloud.came.get() for _ in pairs]
    rate = 400_000
    links.cut("a", "rate", rate=rate)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _, writer in pairs:
        writer.write(b"x" * 50_000)
    async with asyncio.timeout(60):
        for reader, _ in fars:
            await reader.readexactly(50_000)
    took = loop.time() - begun
    assert 200_000 / took <= 1.2 * rate
    assert took < 10
    assert state(links)["bytes"] == {"up": 200_000, "down": 0}


async def test_connections_share_a_rate_in_turns(links: Links, cloud: Any, connect: Any) -> None:
    port = links.add("a", cloud.address)
    cloud.echoes = False
    pairs = [await connect(port) for _ in range(2)]
    fars = [await cloud.came.get() for _ in pairs]
    links.cut("a", "rate", rate=200_000)
    pairs[0][1].write(b"x" * 100_000)
    pairs[1][1].write(b"y" * 20_000)
    async with asyncio.timeout(60):
        await fars[1][0].readexactly(20_000)
        assert state(links)["bytes"]["up"] < 80_000
        await fars[0][0].readexactly(100_000)


async def test_a_rate_and_a_black_hole_end_with_the_heal(links: Links, cloud: Any, connect: Any) -> None:
    pair = await connect(links.add("a", cloud.address))
    links.cut("a", "rate", rate=1000)
    pair[1].write(b"x" * 1_000_000)
    await turns(connect, links, cloud)
    links.cut("a")
    assert state(links)["state"] == "blackhole, rate 1000 B/s"
    await turns(connect, links, cloud)
    links.heal("a")
    async with asyncio.timeout(20):
        assert await pair[0].readexactly(1_000_000) == b"x" * 1_000_000


@pytest.mark.parametrize("how", ["reset", "blackhole"])
async def test_a_drop_meets_only_the_connections_of_now(links: Links, cloud: Any, connect: Any, how: str) -> None:
    port = links.add("a", cloud.address)
    old = await connect(port)
    await echoed(*old)
    assert links.drop("a", how) == 1
    new = await connect(port)
    assert await echoed(*new) == b"beat"
    if how == "reset":
        with pytest.raises(ConnectionResetError):
            await old[0].read()
        return
    old[1].write(b"held")
    links.cut("a", "delay", ms=1)
    await echoed(*new)
    assert state(links)["bytes"]["up"] == 12
    links.heal("a")
    assert await old[0].readexactly(4) == b"held"


async def test_a_slow_reader_holds_the_sender_up(links: Links, cloud: Any, connect: Any) -> None:
    cloud.echoes = False
    port = links.add("a", cloud.address)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setblocking(False)
        far_reader, _ = await cloud.came.get()
        sent, was = 0, -1
        while sent != was:
            was = sent
            sent += fill(sock)
            await turns(connect, links, cloud)
        assert state(links)["held"] <= LIMIT
        assert state(links)["bytes"]["up"] < sent
        await far_reader.readexactly(sent)


async def test_a_target_that_refuses_reaches_the_client_as_a_reset(links: Links, connect: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = links.add("a", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConnectionResetError):
            await (await connect(port))[0].read()
    assert state(links)["open"] == 0


async def test_steering_meets_the_pool_alone(links: Links, cloud: Any) -> None:
    for name, node, pool in (("a-hub", "n1", "a"), ("b-hub", "n2", "b")):
        links.add(name, cloud.address, node=node, pool=pool)
    assert links.cut("a") == ["a-hub"]
    assert [one["state"] for one in links.show()] == ["blackhole", "up"]
    assert links.heal() == ["a-hub", "b-hub"]
    with pytest.raises(Missing):
        links.cut("c")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "", "target": "127.0.0.1:1"},
        {"name": "a/b", "target": "127.0.0.1:1"},
        {"name": "a", "target": "localhost:1"},
        {"name": "a", "target": "127.0.0.1"},
        {"name": "a", "target": "127.0.0.1:70000"},
        {"name": "a", "target": "127.0.0.1:1", "listen": "203.0.113.9:0"},
    ],
)
async def test_a_malformed_link_is_bad_input(links: Links, wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        links.add(**wrong)
    assert links.show() == []


async def test_a_taken_name_or_port_is_bad_input_and_a_removed_one_is_free(links: Links, cloud: Any) -> None:
    port = links.add("a", cloud.address)
    with pytest.raises(BadInput, match="already"):
        links.add("a", cloud.address)
    with pytest.raises(BadInput, match="cannot listen"):
        links.add("b", cloud.address, listen=f"127.0.0.1:{port}")
    links.remove("a")
    assert links.add("b", cloud.address, listen=f"127.0.0.1:{port}") == port
