"""What kube-apiserver 1.34.4 said, byte by byte, about two ConfigMaps `x` and `y` of the namespace `a`."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def recorded() -> Mapping[str, bytes]:
    found = json.loads((GOLDEN / "kube-apiserver-1.34.json").read_text())
    return {name: text.encode() for name, text in found.items()}
