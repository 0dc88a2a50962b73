"""The hub's wiring: settings, adapters, pump, control API, tasks; and the order in which it starts and stops.

The proxy ports open before the control API is imported: node components wait for them, people do not.
"""

import asyncio
import functools
import gc
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import metadata

import structlog
import uvloop
from yurtcore.errors import BadInput
from yurtcore.flow.stop import until_told
from yurtcore.flow.tasks import Tasks, Work
from yurtcore.serve import logs
from yurtcore.serve.settings import load

from yurt_hub.adapters import certs
from yurt_hub.adapters.doors import LocalDoor, SecureDoor
from yurt_hub.adapters.owners import Owners, local_policy, self_test
from yurt_hub.adapters.prober import keep_probing, tell
from yurt_hub.adapters.state import claimed
from yurt_hub.domain.facts import Facts
from yurt_hub.domain.kept_facts import DiskSeen, FeedSeen, Kept, LeaseSeen
from yurt_hub.domain.links import Changed, Link, LinkTable
from yurt_hub.domain.traffic import Traffic
from yurt_hub.keeping import CONFIG, Keeping, open_disk
from yurt_hub.pump.cloud import Cloud, UpstreamTls
from yurt_hub.pump.front import ClientLimits, Front
from yurt_hub.pump.site import UpstreamLimits
from yurt_hub.settings import FOREIGN, FileSettings, HubSettings

MIB = 1 << 20

_log = structlog.get_logger("hub")


def main(argv: Sequence[str] | None = None) -> None:
    """Run a hub until SIGTERM or SIGINT, or `fsck`; a wrong input ends it with one line and code 2."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["fsck"]:
        from yurt_hub.fsck import fsck_main  # noqa: PLC0415 (nothing that a hub needs)

        raise SystemExit(fsck_main(words[1:]))
    cfg, _ = load(HubSettings, words, env_prefix="YURT_HUB", prog="yurt-hub", foreign=FOREIGN)
    logs.set_up(cfg.log.level, cfg.log.fmt)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # shells and systemd begin at 1024, fewer than our clients
    wrong: list[BaseException] = []
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(cfg))
    except* BadInput as found:
        wrong += found.exceptions
    if wrong:
        print(f"yurt-hub: {wrong[0]}", file=sys.stderr)  # noqa: T201 (for the person who started it)
        raise SystemExit(2)


async def run(cfg: HubSettings) -> None:
    """Start in order, serve until told to stop, end in reverse order."""
    files = cfg.files
    certs.check_authorities(files.ca)
    certs.check_pair(files.cert, files.client_key, flags="--cert-file and --key-file")
    secure = _secure_door(files, cfg.node_name)
    with ExitStack() as shed:
        shed.enter_context(claimed(cfg.root_dir))
        threads = shed.enter_context(ThreadPoolExecutor(1, thread_name_prefix="callers"))
        async with until_told() as stop, asyncio.TaskGroup() as group:
            tasks = Tasks(group, stop, lambda name, err: _log.error("task.failed", task=name, error=repr(err)))
            facts, cloud, front, keeping = _assemble(cfg, tasks)
            policy = local_policy(cfg.components)
            local = LocalDoor(Owners(policy), policy, threads)
            watched = [certs.Watched({files.ca, files.cert, files.client_key}, cloud.reload)]
            try:
                await _listen(facts, front, cfg.listen.proxy, cfg.listen.proxy_port, local, "--proxy-port")
                if secure is not None:
                    door, renewed = secure
                    watched.append(renewed)
                    await _listen(facts, front, cfg.listen.proxy, cfg.listen.secure_port, door, "--proxy-secure-port")
                facts.unready = self_test()
                tasks.start("sweep", front.run())
                if keeping is not None:
                    keeping.start(tasks)
                probing = functools.partial(keep_probing, facts.links, probe=cloud.probe, spawn=tasks.spawn)
                tasks.start("links", probing(clock=facts.clock, timeout=cfg.link.policy().timeout))
                tasks.start("certificates", certs.keep_fresh(watched))
                _log.info("hub.listening", node=cfg.node_name, unready=facts.unready, **facts.listeners)
                serve = await asyncio.to_thread(_control_api, cfg, facts)
                tasks.start("control API", serve(stop))
                _log.info("hub.started", admin=facts.listeners["admin"], pid=os.getpid())
                gc.collect()
                gc.freeze()
                await stop.wait()
                _log.info("hub.stopping", in_flight=facts.traffic.in_flight, streams=facts.traffic.streams)
            finally:
                await front.drain(cfg.limits.drain if stop.is_set() else 0.0)
                if keeping is not None:
                    keeping.close()
                await cloud.close()
                tasks.cancel()


def _assemble(cfg: HubSettings, tasks: Tasks) -> tuple[Facts, Cloud, Front, Keeping | None]:
    clock = asyncio.get_running_loop().time
    traffic = Traffic()

    def changed(change: Changed) -> None:
        tell(change, retry_in=links.retry_after(clock()))
        cloud.changed(change)
        if keeping is not None and change.now is Link.UP:
            keeping.link_up()

    links = LinkTable(cfg.server_addr, cfg.link.policy(), now=clock(), draw=random.random, told=changed)
    cloud = Cloud(
        list(cfg.server_addr),
        tls=UpstreamTls(cfg.files.ca, cfg.files.cert, cfg.files.client_key),
        links=links,
        traffic=traffic,
        limits=UpstreamLimits(connections=cfg.limits.connections),
        spawn=tasks.spawn,
        log=structlog.get_logger("cloud"),
        clock=clock,
    )
    limits = ClientLimits(clients=cfg.limits.clients)
    front = Front(cloud, traffic=traffic, limits=limits, spawn=tasks.spawn, clock=clock)
    keeping: Keeping | None = None
    if cfg.working_mode == "edge":
        disk = open_disk(cfg.disk_cache_path or cfg.root_dir / "cache", cfg.root_dir, cfg.limits.disk * MIB)
        memory = cfg.limits.memory * MIB
        keeping = Keeping(node=cfg.node_name, disk=disk, quota_bytes=memory, cloud=cloud, links=links, tasks=tasks)
        front.desk = keeping.desk
    about = cfg.about(version=metadata.version("yurt-hub"), pid=os.getpid())
    kept = None if keeping is None else _kept(cfg.node_name, keeping)
    return Facts(about, links, traffic, cloud.snapshot, clock, kept=kept), cloud, front, keeping


def _kept(node: str, keeping: Keeping) -> Kept:
    """What the control API may tell of what is kept."""
    report = keeping.disk.report

    def disk() -> DiskSeen:
        now = keeping.disk.stats()
        lost = len(report.lost) + report.nameless
        return DiskSeen(
            live=now.live, dead=now.dead, file=now.file, quota=now.quota, batches=now.batches, written=now.written,
            compactions=now.compactions, rewrites=now.rewrites, queue=now.queue, queue_bytes=now.queue_bytes,
            sync_age=now.sync_age, errors=now.errors, refused=now.refused, full=now.full, stopped=now.stopped,
            torn=report.torn, damaged=report.damaged, lost=lost,
        )  # fmt: skip

    def lease() -> LeaseSeen:
        facts = keeping.renewals.facts
        return LeaseSeen(facts.sent, facts.failed, facts.why)

    counted = keeping.desk.counters
    return Kept(
        node=node,
        store=keeping.store,
        documents=keeping.documents,
        beats=keeping.beats,
        agents=lambda: keeping.agents,
        feeds=lambda: [FeedSeen(*seen) for seen in keeping.feeds.seen()],
        disk=disk,
        lease=lease,
        lit_reads=counted.lit,
        dark_answers=counted.dark,
        own=frozenset({CONFIG}),
        lit=keeping.lit,
        wall=time.time,
    )


def _secure_door(files: FileSettings, node_name: str) -> tuple[SecureDoor, certs.Watched] | None:
    pair = files.serving_pair
    if pair is None:
        return None
    context = certs.serving_context(*pair, files.ca)
    renew = functools.partial(certs.renew, context, *pair, files.ca)
    return SecureDoor(context, node_name), certs.Watched({*pair, files.ca}, renew)


async def _listen(facts: Facts, front: Front, host: str, port: int, door: LocalDoor | SecureDoor, flag: str) -> None:
    try:
        bound = await front.listen(host, port, door)
    except OSError as err:
        why = os.strerror(err.errno) if err.errno else str(err)
        raise BadInput(f"cannot listen on {host}:{port} ({why}); free it or choose another by {flag}") from err
    facts.listeners[door.name] = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"


def _control_api(cfg: HubSettings, facts: Facts) -> Callable[[asyncio.Event], Work]:
    """Import and build the control API and open its port; runs in a thread, while the proxy serves already."""
    from yurtcore.serve import server  # noqa: PLC0415

    from yurt_hub.api import admin  # noqa: PLC0415 (0.4 s that no node component waits for)

    sock = server.bind(cfg.listen.admin, cfg.listen.admin_port, flag="--serve-port")
    facts.listeners["admin"] = f"{cfg.listen.admin}:{sock.getsockname()[1]}"
    api = admin.control_api(facts)
    return lambda stop: server.serve(api, sock=sock, stop=stop)
