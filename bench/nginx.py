"""Finds nginx, or fetches the distribution's package into the cache folder, and writes its configuration."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.build import cache_dir

PACKAGES = ("nginx", "nginx-core", "nginx-light")
LIBRARIES = ("libpcre2-8-0", "libssl3", "zlib1g", "libcrypt1")
APT_DEADLINE = 120.0


class NoNginxError(Exception):
    """There is no nginx here; the message says why, and stands in the table."""


@dataclass(frozen=True, slots=True)
class Nginx:
    path: str
    environment: dict[str, str]
    version: str


def find() -> Nginx:
    """The one on the PATH, else Debian's package unpacked in the cache folder; nothing is installed."""
    on_path = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if on_path:
        return _tried(on_path, {})
    root = cache_dir() / "nginx"
    binary = root / "usr/sbin/nginx"
    if not binary.exists():
        _fetch_first(PACKAGES, root, binary)
    try:
        return _tried(str(binary), {})
    except NoNginxError:
        for library in LIBRARIES:
            _fetch(library, root)
        folders = sorted({str(found.parent) for found in root.rglob("*.so.*")})
        return _tried(str(binary), {"LD_LIBRARY_PATH": ":".join(folders)})


def _tried(path: str, environment: dict[str, str]) -> Nginx:
    try:
        done = subprocess.run(
            [path, "-v"], env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise NoNginxError(f"{path} does not run: {err}") from err
    found = re.search(r"nginx/\S+", done.stderr)
    return Nginx(path, environment, found.group().partition("/")[2] if found else "of unknown version")


def _fetch_first(packages: tuple[str, ...], root: Path, wanted: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise NoNginxError("no nginx on the PATH, and no apt-get to fetch it with")
    _apt(root, "update")
    for package in packages:
        _fetch(package, root)
        if wanted.exists():
            return
    raise NoNginxError(f"none of the packages {', '.join(packages)} has usr/sbin/nginx")


def _fetch(package: str, root: Path) -> None:
    _apt(root, "download", package)
    for archive in root.glob(f"{package}_*.deb"):
        subprocess.run(
            ["dpkg", "-x", archive.name, "."], cwd=root, check=True, capture_output=True, timeout=APT_DEADLINE
        )


def _apt(root: Path, *command: str) -> None:
    """Run apt-get on lists of our own, so that it needs no rights and changes nothing outside the folder."""
    for folder in ("apt/lists/partial", "apt/archives/partial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    options = (
        f"Dir::State={root}/apt", f"Dir::Cache={root}/apt", "Dir::State::status=/var/lib/dpkg/status",
        "Debug::NoLocking=1", "Acquire::Retries=2", "APT::Sandbox::User=",
    )  # fmt: skip
    try:
        subprocess.run(
            ["apt-get", "-q", *(word for option in options for word in ("-o", option)), *command],
            cwd=root, check=True, capture_output=True, text=True, timeout=APT_DEADLINE,
        )  # fmt: skip
    except subprocess.CalledProcessError as err:
        raise NoNginxError(f"apt-get {command[0]} failed: {err.stderr.strip().splitlines()[-1:]}") from err
    except subprocess.TimeoutExpired as err:
        raise NoNginxError(f"apt-get {command[0]} took longer than {APT_DEADLINE:.0f} s") from err


def configuration(*, folder: Path, pki: Path, upstream: str, secure_upstream: bool, port: int, secure_port: int) -> str:
    """One worker, keep-alive to the upstream, TLS checked as by the others, nothing buffered or logged."""
    scheme = "https" if secure_upstream else "http"
    return f"""\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream cloud {{
        server {upstream};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{secure_port} ssl;
        ssl_certificate {pki}/server.crt;
        ssl_certificate_key {pki}/server.key;
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass {scheme}://cloud;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
            proxy_buffer_size 32k;
            proxy_buffers 8 32k;
            proxy_read_timeout 3600s;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_ssl_trusted_certificate {pki}/ca.crt;
        }}
    }}
}}
"""
