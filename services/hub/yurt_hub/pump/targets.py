"""Request targets: what cannot mean one thing to us and another to the API server.

The server decodes the path once and splits it then, as `yurtcore.wire.gvr` does. Paths that change their shape by that
are refused all the same, before anything else looks at them: no log, memo or rule of ours has to know every spelling
of a path. Clients of Kubernetes write none of these. Queries pass as they are; `parse_target` reads them as Go does.
"""

import re

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Controls and DEL; "/" and "\\"; what never needs an escape: "-", ".", "_", digits and letters.
_HIDDEN = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[fF]|2[fF]|5[cC]|2[dDeE]|5[fF]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9aA])")
_DOT_SEGMENT = re.compile(rb"/\.\.?(?:/|$)")


def fault(target: bytes) -> str:
    """Say what is wrong with the path of a target in origin-form; nothing if it can be read in one way only."""
    path = target.partition(b"?")[0]
    if _BAD_ESCAPE.search(path) is not None:
        return "The path has a percent sign without two hexadecimal digits."
    if _HIDDEN.search(path) is not None:
        return "The path hides a control character, a slash or a plain character behind an escape."
    if _DOT_SEGMENT.search(path) is not None:
        return "The path has a segment of dots alone."
    return ""
