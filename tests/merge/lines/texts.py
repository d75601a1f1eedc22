"""Texts for hypothesis: a base, and sides that were made from it."""

from __future__ import annotations

from hypothesis import strategies as st

from jvs.merge.content import Contents

KINDS = [b"a", b"b", b"c", b"{", b"}", b"", b"    return", b"x\r", b"=======", b"<<<<<<< ours", b"\xff"]
LINES = st.sampled_from(KINDS)
TEXTS = st.builds(
    lambda lines, end: b"\n".join(lines) + (end if lines else b""),
    st.lists(LINES, max_size=12),
    st.sampled_from([b"\n", b""]),
)


@st.composite
def edited(draw: st.DrawFn, base: list[bytes]) -> list[bytes]:
    """`base` with a few spans of lines replaced, some by nothing, some put in twice."""
    lines = list(base)
    for _ in range(draw(st.integers(0, 3))):
        low = draw(st.integers(0, len(lines)))
        high = draw(st.integers(low, min(len(lines), low + 3)))
        new = draw(st.one_of(st.lists(LINES, max_size=3), st.just(lines[low:high] * 2)))
        lines[low:high] = new
    return lines


def join(lines: list[bytes], *, closed: bool) -> bytes:
    """The text of the lines; `closed`: the last has its LF."""
    return b"\n".join(lines) + (b"\n" if lines and closed else b"")


@st.composite
def contents(draw: st.DrawFn) -> Contents:
    """Three texts; the sides are edits of the base, and sometimes the base is missing."""
    base = draw(st.lists(LINES, max_size=14))
    sides = [join(lines, closed=draw(st.booleans())) for lines in (base, draw(edited(base)), draw(edited(base)))]
    return Contents(draw(st.sampled_from([sides[0], sides[0], sides[0], None])), sides[1], sides[2])


@st.composite
def distinct_contents(draw: st.DrawFn, *, moves: bool = True) -> Contents:
    """The same with lines that are all different, but where both sides put in the same; `moves`: some go elsewhere."""
    base = [b"line %d" % at for at in range(draw(st.integers(0, 14)))]
    sides = []
    for name in (b"ours", b"theirs"):
        lines = list(base)
        for number in range(draw(st.integers(0, 4))):
            low = draw(st.integers(0, len(lines)))
            high = draw(st.integers(low, min(len(lines), low + 2)))
            who = draw(st.sampled_from([name, b"both"]))
            lines[low:high] = [b"%s %d %d" % (who, number, at) for at in range(draw(st.integers(0, 2)))]
        if moves and lines and draw(st.booleans()):
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop())
        sides.append(join(lines, closed=True))
    return Contents(join(base, closed=True), *sides)
