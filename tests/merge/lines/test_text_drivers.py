"""The drivers for texts: what they take, and what they leave to the next."""

from __future__ import annotations

import pytest

from jvs.merge.content import Contents, MergeDriver, Options
from jvs.merge.drivers import text
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.text import TextDriver
from jvs.merge.drivers.union import UnionDriver

TEXT = Contents(b"a\nb\n", b"a\nx\n", b"a\ny\n")


def test_text_marks_what_clashes_and_union_keeps_it() -> None:
    drivers: tuple[MergeDriver, ...] = (TextDriver(), UnionDriver())
    marked, kept = (driver.merge(b"f", TEXT, Options()) for driver in drivers)
    assert marked is not None
    assert kept is not None
    assert (marked.driver, len(marked.conflicts)) == ("text", 1)
    assert (kept.driver, kept.conflicts, kept.data) == ("union", (), b"a\nx\ny\n")


@pytest.mark.parametrize("driver", [TextDriver(), UnionDriver()])
@pytest.mark.parametrize(
    "binary",
    [b"\0", b"x" * 7999 + b"\0", "a\nb\n".encode("utf-16"), "字\n".encode("utf-16"), b"\xfe\xff\x4e\x0a"],
    ids=["NUL", "NUL at 7999", "UTF-16", "UTF-16 big-endian", "UTF-16 without a NUL"],
)
def test_binary_sides_are_left_to_the_next(driver: MergeDriver, binary: bytes) -> None:
    for case in (Contents(binary, b"a", b"b"), Contents(b"a", binary, b"b"), Contents(None, b"b", binary)):
        assert not driver.suits(b"f", case)
        with pytest.raises(GiveUp, match="binary"):
            driver.merge(b"f", case, Options())


def test_text_is_what_git_calls_text() -> None:
    """A NUL further back, bytes that are not UTF-8, and a UTF-8 mark do not make a file binary."""
    for side in (b"x" * 8000 + b"\0", b"\xff\xffq\n", b"\xef\xbb\xbfa\n", b"\x1b[0m"):
        assert TextDriver().suits(b"f", Contents(None, side, b"a\n"))


def test_union_is_only_taken_where_it_is_asked_for() -> None:
    assert not UnionDriver().suits(b"CHANGES", TEXT)


def test_too_many_lines_are_left_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_LINES", 3)
    assert TextDriver().suits(b"f", Contents(b"1\n2\n3\n", b"", b"x"))
    with pytest.raises(GiveUp, match="more than 3 lines"):
        TextDriver().merge(b"f", Contents(b"", b"1\n2\n3\n4\n", b"x"), Options())
