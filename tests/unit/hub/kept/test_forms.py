"""Which form a caller gets."""

import pytest
from yurt_hub.domain.kept.forms import OBJECTS, Form, Shape, negotiate
from yurtcore.errors import BadInput

KUBECTL_GET = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
METADATA = (
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", OBJECTS),
        ("application/json", OBJECTS),
        ("application/json, */*", OBJECTS),
        ("application/json;stream=watch", OBJECTS),
        ("application/vnd.kubernetes.protobuf, */*", OBJECTS),
        ("application/vnd.kubernetes.protobuf,application/json", OBJECTS),
        ("application/*", OBJECTS),
        (KUBECTL_GET, Form(Shape.TABLE)),
        (METADATA, Form(Shape.PARTIAL)),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1", Form(Shape.PARTIAL, "v1beta1")),
        ("application/json;as=Table;v=v1;g=meta.k8s.io;q=0.1,application/json", OBJECTS),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", OBJECTS),
        ("application/json;as=Table;v=v1;g=other,application/json", OBJECTS),
        ("application/json;as=Nothing;v=v1;g=meta.k8s.io", None),
        ("application/vnd.kubernetes.protobuf", None),
        ("application/vnd.kubernetes.protobuf;stream=watch", None),
        ("application/yaml", None),
        ("text/html", None),
        ("*/*;q=nonsense", OBJECTS),
    ],
)
def test_the_first_form_that_fits_is_taken(accept: str, form: Form | None) -> None:
    assert negotiate(accept) == form


def test_rows_hold_what_was_asked_for() -> None:
    assert negotiate(KUBECTL_GET, include="Object") == Form(Shape.TABLE, "v1", "Object")
    assert negotiate(KUBECTL_GET, include="None") == Form(Shape.TABLE, "v1", "None")
    with pytest.raises(BadInput):
        negotiate(KUBECTL_GET, include="Everything")
