"""Frames are cut the same however the bytes come, and `h2` reads the ones that are meant for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.pump.frames import DATA, END_STREAM, FRAME_LIMIT, GOAWAY, PADDED, BadFrame, Cut, Cutter, window_update


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


frames = st.lists(
    st.one_of(
        st.tuples(st.just(DATA), st.just(0), st.integers(1, 9), st.binary(max_size=40)),
        st.tuples(st.just(DATA), st.sampled_from([END_STREAM, PADDED]), st.integers(1, 9), st.binary(max_size=40)),
        st.tuples(st.sampled_from([1, 3, 4, 6, 8, 9]), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)),
        st.tuples(st.just(GOAWAY), st.just(0), st.just(0), st.binary(min_size=8, max_size=30)),
    ),
    max_size=12,
)


def story(cuts: list[Cut]) -> list[tuple[str, object]]:
    """Flatten cuts into the order in which they are acted on."""
    out: list[tuple[str, object]] = []
    for cut in cuts:
        out += [("data", piece) for piece in cut.data]
        if cut.rest:
            out.append(("rest", cut.rest))
        if cut.goaway:
            out.append(("goaway", cut.goaway.last_stream))
    joined: list[tuple[str, object]] = []
    for what, value in out:  # runs of frames for h2 may be split anywhere between frames
        if what == "rest" and joined and joined[-1][0] == "rest":
            joined[-1] = ("rest", joined[-1][1] + value)  # type: ignore[operator]
        else:
            joined.append((what, value))
    return joined


@given(frames, st.data())
def test_frames_are_cut_the_same_in_any_pieces_and_in_order(
    parts: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(*part) for part in parts)
    expected: list[tuple[str, object]] = []
    for kind, flags, number, payload in parts:
        if kind == DATA and not flags:
            if payload:
                expected.append(("data", (number, payload)))
        elif kind == GOAWAY:
            expected.append(("goaway", int.from_bytes(payload[:4], "big") & 0x7FFFFFFF))
        elif expected and expected[-1][0] == "rest":
            expected[-1] = ("rest", expected[-1][1] + frame(kind, flags, number, payload))  # type: ignore[operator]
        else:
            expected.append(("rest", frame(kind, flags, number, payload)))
    cutter, cuts, at = Cutter(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        cuts += cutter.feed(stream[at : at + size])
        at += size
    # An empty plain DATA frame between two others says nothing and splits nothing.
    assert story(cuts) == story_without_gaps(expected)


def story_without_gaps(expected: list[tuple[str, object]]) -> list[tuple[str, object]]:
    joined: list[tuple[str, object]] = []
    for what, value in expected:
        if what == "rest" and joined and joined[-1][0] == "rest":
            joined[-1] = ("rest", joined[-1][1] + value)  # type: ignore[operator]
        else:
            joined.append((what, value))
    return joined


@pytest.mark.parametrize(
    "bad",
    [
        (FRAME_LIMIT + 1).to_bytes(3, "big") + b"\0\0\0\0\0\1",
        frame(DATA, 0, 0, b"x"),
        frame(GOAWAY, 0, 0, b"short"),
    ],
)
def test_bad_frames_are_refused(bad: bytes) -> None:
    with pytest.raises(BadFrame):
        Cutter().feed(bad)


def test_a_window_update_is_what_the_rfc_says() -> None:
    assert window_update(5, 70_000) == frame(8, 0, 5, (70_000).to_bytes(4, "big"))
