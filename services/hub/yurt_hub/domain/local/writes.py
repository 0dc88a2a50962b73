"""Writes in the dark: what is there already is said to be there, everything else waits for the cloud.

A kubelet that starts anew registers its Node first; told that it exists, it goes on with what it can read. The
reference answers every create with an echo and every delete with 403; here a write that did not happen is a 503, which
clients of Kubernetes repeat.
"""

from collections.abc import Callable
from typing import Final

from yurtcore.wire.gvr import Gvr, Target
from yurtcore.wire.names import NODE_USER_PREFIX

from yurt_hub.domain.local.answers import RETRY_SECONDS, Local, already_exists, said

Has = Callable[[Gvr, str, str], bool]
"""Says whether the object with this kind, namespace and name is kept."""

NODES: Final = Gvr("", "v1", "nodes")
CSINODES: Final = Gvr("storage.k8s.io", "v1", "csinodes")


def dark_write(verb: str, target: Target, identity: str, has: Has) -> Local:
    """Answer a write while no API server can be reached; reads do not come here.

    `verb` is Kubernetes' (create, update, patch, delete, …; of what is no resource the method in lower case).
    """
    if verb == "create" and target.gvr in (NODES, CSINODES) and not (target.subresource or target.name):
        node = identity.removeprefix(NODE_USER_PREFIX)
        # A node's identity can create objects of its own name only (NodeRestriction), so the body tells nothing new.
        if node != identity and "dryRun" not in target.query and has(target.gvr, "", node):
            return already_exists(target.resource, target.group, node)
    return said(
        503,
        f"the cloud cannot be reached, and writes wait for it: {_told(verb, target)} was not done",
        retry_after=RETRY_SECONDS,
    )


def _told(verb: str, target: Target) -> str:
    if not target.is_resource:
        return f"{verb} of {target.path}"
    kind = f"{target.resource}.{target.group}" if target.group else target.resource
    what = f"{kind}/{target.subresource}" if target.subresource else kind
    where = f" in namespace {target.namespace}" if target.namespace and target.resource != "namespaces" else ""
    return f"{verb or 'a request'} of {what}{f' {target.name}' if target.name else ''}{where}"
