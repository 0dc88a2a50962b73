"""Prints what one head costs: CPU microseconds to judge usual requests and responses, and to walk a chunked body.

Run it with the workspace's Python: `.venv/bin/python bench/heads.py`. The best of several rounds is printed, because a
neighbour on the machine can only make it slower.
"""

import time
from collections.abc import Callable

from yurt_hub.pump.bodies import ChunkDecoder, ChunkWalker
from yurt_hub.pump.heads import parse_request, parse_response

ROUNDS = 9
CALLS = 10_000

LIST = (
    b"GET /api/v1/namespaces/kube-system/pods?limit=500&resourceVersion=0 HTTP/1.1\r\n"
    b"Host: 127.0.0.1:10268\r\n"
    b"User-Agent: kubectl/v1.34.4 (linux/amd64) kubernetes/abcdef0\r\n"
    b"Authorization: Bearer " + b"x" * 900 + b"\r\n"
    b"Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json\r\n"
    b"Accept-Encoding: gzip\r\n"
    b"Kubectl-Command: kubectl get\r\n"
    b"Kubectl-Session: 4f0b66ac-9f0d-4f5e-8f20-1a6d1a8a0d6d\r\n"
    b"X-Request-Id: 0d6d4f0b66ac9f0d4f5e8f201a6d1a8a\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Audit-Id: 4f0b66ac-9f0d-4f5e-8f20-1a6d1a8a0d6d\r\n"
    b"Cache-Control: no-cache, private\r\n"
    b"Content-Type: application/json\r\n"
    b"X-Kubernetes-Pf-Flowschema-Uid: 1b0a7e5c-4b8c-4a0f-9a57-2c3d0f1e2a3b\r\n"
    b"X-Kubernetes-Pf-Prioritylevel-Uid: 7c6b5a49-3827-4165-8f0e-d1c2b3a49586\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
    b"Content-Length: 2345\r\n\r\n"
)
CHUNK = b"800\r\n" + b"x" * 2048 + b"\r\n"

CASES: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "request, nothing to remove": (LIST, parse_request),
    "request with an unusual name": (LIST.replace(b"X-Request-Id", b"X-Own-Header"), parse_request),
    "request with Connection: keep-alive": (
        LIST.replace(b"X-Request-Id: 0", b"Connection: keep-alive\r\nX: 0"),
        parse_request,
    ),
    "request, one header removed": (LIST.replace(b"X-Request-Id", b"X-Remote-User"), parse_request),
    "request with Content-Length": (
        LIST.replace(b"GET", b"PUT", 1).replace(b"X-Re", b"Content-Length: 9\r\nX-Re"),
        parse_request,
    ),
    "response, Content-Length": (ANSWER, lambda head: parse_response(head, head_request=False)),
    "response, chunked": (
        ANSWER.replace(b"Content-Length: 2345", b"Transfer-Encoding: chunked"),
        lambda head: parse_response(head, head_request=False),
    ),
    "response, Connection: close removed": (
        ANSWER.replace(b"Date:", b"Connection: close\r\nDate:"),
        lambda head: parse_response(head, head_request=False),
    ),
    "body of one 2 KB chunk, walked": (CHUNK + b"0\r\n\r\n", lambda body: ChunkWalker().feed(body)),
    "body of ten 2 KB chunks, walked": (CHUNK * 10 + b"0\r\n\r\n", lambda body: ChunkWalker().feed(body)),
    "body of ten 2 KB chunks, decoded": (CHUNK * 10 + b"0\r\n\r\n", lambda body: ChunkDecoder().feed(body)),
}


def cost(call: Callable[[bytes], object], data: bytes) -> float:
    """Return the best CPU time of one call over all rounds, in microseconds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call(data)
        best = min(best, time.process_time() - began)
    return best / CALLS * 1e6


if __name__ == "__main__":
    for name, (data, call) in CASES.items():
        print(f"{name:40} {len(data):6} bytes {cost(call, data):6.2f} us")
