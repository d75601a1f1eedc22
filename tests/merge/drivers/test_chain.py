"""The chain: which driver is asked, in which order, and what becomes of one that fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.merge.content import Contents, Merged, MergeDriver, Options, Prefer
from jvs.merge.drivers import chain
from jvs.merge.drivers.attributes import Attributes, Settings
from jvs.merge.drivers.chain import Decision, built_in, decide, merge_content
from jvs.merge.drivers.giveup import GiveUp
from tests.merge.drivers.support import NONE, OURS

DIFFERENT = Contents(b"base", b"ours", b"theirs")


class Stub:
    """A driver that does as it is told."""

    def __init__(self, name: str, answer: object = None, *, suits: object = True, max_size: int = 100) -> None:
        self.name = name
        self.max_size = max_size
        self._answer = answer
        self._suits = suits

    def suits(self, path: bytes, contents: Contents) -> bool:
        if isinstance(self._suits, Exception):
            raise self._suits
        return bool(self._suits)

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer == "merges":
            return Merged(b"merged", (), (), self.name)
        return self._answer  # type: ignore[return-value]  # also what no driver may return


def settings(line: str) -> Settings:
    return Attributes(None, 0, b"* " + line.encode()).of((), b"file")


def asked(drivers: list[Stub], line: str = "") -> str:
    """What is explained; where nobody merges it, all who were asked are named."""
    return decide(b"file", DIFFERENT, NONE, settings(line), drivers).explain


def test_the_first_that_suits_and_can_decides() -> None:
    drivers = [
        Stub("a", suits=False),
        Stub("b"),
        Stub("c", GiveUp("no\nway")),
        Stub("d", "merges"),
        Stub("e", "merges"),
    ]
    assert decide(b"file", DIFFERENT, NONE, drivers=drivers) == Decision(
        Merged(b"merged", (), (), "d"), "b: gave up; c: gave up: no way; d: merged"
    )


def test_nobody_can() -> None:
    decision = decide(b"file", DIFFERENT, NONE, drivers=[Stub("a")])
    assert decision == Decision(None, "a: gave up; whole file: a conflict")
    assert merge_content(b"file", DIFFERENT, NONE, drivers=[]) is None


@pytest.mark.parametrize("failure", [ValueError("x\ny" * 200), MemoryError(), RecursionError(), AssertionError()])
def test_a_driver_that_fails_is_passed_over(failure: Exception) -> None:
    drivers = [Stub("a", failure), Stub("b", suits=failure), Stub("c", "merges")]
    decision = decide(b"file", DIFFERENT, NONE, drivers=drivers)
    assert decision.merged == Merged(b"merged", (), (), "c")
    assert decision.explain.startswith(f"a: failed: {type(failure).__name__}")
    assert f"b: failed: {type(failure).__name__}" in decision.explain
    assert "\n" not in decision.explain
    assert len(decision.explain) < 1_000


@pytest.mark.parametrize("answer", ["merges nothing", 3, Merged("text", (), (), "a")])  # type: ignore[arg-type]
def test_an_answer_that_is_none_is_passed_over(answer: object) -> None:
    decision = decide(b"file", DIFFERENT, NONE, drivers=[Stub("a", answer), Stub("b", "merges")])
    assert decision.merged == Merged(b"merged", (), (), "b")
    assert decision.explain.startswith("a: failed: ")


def test_a_file_above_the_cap_of_a_driver_goes_to_the_next() -> None:
    drivers = [Stub("a", "merges", max_size=5), Stub("b", "merges", max_size=6)]
    assert asked(drivers) == "a: not asked: 6 bytes are more than its 5; b: merged"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "a: gave up; b: gave up; text: gave up; whole file: a conflict"),
        ("merge=b", "b: chosen by an attribute; b: gave up; text: gave up; whole file: a conflict"),
        ("b", "b: chosen by an attribute; b: gave up; text: gave up; whole file: a conflict"),
        ("merge", "text: chosen by an attribute; text: gave up; whole file: a conflict"),
        ("text", "text: chosen by an attribute; text: gave up; whole file: a conflict"),
        ("binary", "binary: chosen by an attribute; whole file: a conflict"),
        ("-merge", "binary: chosen by an attribute; whole file: a conflict"),
        ("merge=binary", "binary: chosen by an attribute; whole file: a conflict"),
        ("-a", "b: gave up; text: gave up; whole file: a conflict"),
        ("-text", "a: gave up; b: gave up; whole file: a conflict"),
        ("b -text", "b: chosen by an attribute; b: gave up; whole file: a conflict"),
        ("a b", "b: chosen by an attribute; b: gave up; text: gave up; whole file: a conflict"),
        ("merge=a b", "b: chosen by an attribute; b: gave up; text: gave up; whole file: a conflict"),
        ("b merge=a", "a: chosen by an attribute; a: gave up; text: gave up; whole file: a conflict"),
        ("binary a", "a: chosen by an attribute; a: gave up; whole file: a conflict"),
        ("a binary", "binary: chosen by an attribute; whole file: a conflict"),
        ("b !b", "a: gave up; b: gave up; text: gave up; whole file: a conflict"),
        ("b !merge", "a: gave up; b: gave up; text: gave up; whole file: a conflict"),
        ("a -a", "b: gave up; text: gave up; whole file: a conflict"),
        ("text=auto eol=lf foo", "a: gave up; b: gave up; text: gave up; whole file: a conflict"),
        ("merge=x", "x: chosen by an attribute; x: there is no such driver; text: gave up; whole file: a conflict"),
    ],
)
def test_attributes_choose(line: str, expected: str) -> None:
    assert asked([Stub("a"), Stub("b"), Stub("text")], line) == expected


@given(
    st.sampled_from(["none", "ours", "theirs"]),
    st.binary(max_size=9),
    st.binary(max_size=9),
    st.sampled_from(["", "binary", "json"]),
)
def test_without_two_changes_no_driver_is_asked(prefer: Prefer, base: bytes, side: bytes, line: str) -> None:
    never: list[MergeDriver] = [Stub("a", "merges")]
    for contents in (
        Contents(base, side, base),
        Contents(base, base, side),
        Contents(base, side, side),
        Contents(None, side, side),
    ):
        merged = merge_content(b"f", contents, Options(prefer=prefer), settings(line), never)
        assert merged is not None
        assert (merged.data, merged.conflicts, merged.settled) == (side, (), ())


class Other:
    """A driver of another distribution."""

    name = "other"
    max_size = 100

    def suits(self, path: bytes, contents: Contents) -> bool:
        return True

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        return Merged(b"by other", (), (), self.name)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if two distributions brought drivers, one of which cannot be loaded."""
    entries = [
        EntryPoint("other", f"{__name__}:Other", chain.GROUP),
        EntryPoint("broken", "jvs.merge.nowhere:Driver", chain.GROUP),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [e for e in entries if e.group == group])
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Other.__module__])
    chain.installed.cache_clear()
    yield
    chain.installed.cache_clear()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("line", ["merge=other", "other"])
def test_an_attribute_brings_in_a_driver_from_elsewhere(line: str) -> None:
    assert decide(b"f", DIFFERENT, NONE, settings(line)).merged == Merged(b"by other", (), (), "other")


@pytest.mark.usefixtures("installed")
def test_what_is_installed_changes_nothing_by_itself() -> None:
    decision = decide(b"f", DIFFERENT, NONE)
    assert decision.merged is not None
    assert decision.merged.driver == "text"


@pytest.mark.usefixtures("installed")
def test_a_driver_that_cannot_be_loaded_is_passed_over() -> None:
    decision = decide(b"f", DIFFERENT, NONE, settings("merge=broken"))
    assert "broken: could not be loaded: ModuleNotFoundError" in decision.explain
    assert decision.merged is not None
    assert decision.merged.driver == "text"


def test_entry_points_are_not_looked_up_until_an_attribute_asks() -> None:
    code = (
        "import sys\n"
        "from jvs.merge.content import Contents, Options\n"
        "from jvs.merge.drivers.chain import merge_content\n"
        "assert merge_content(b'f', Contents(b'a', b'b', b'c'), Options(), {b'text': b'auto'}) is not None\n"
        "assert 'importlib.metadata' not in sys.modules and 'apsw' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# (path, base, ours, theirs) -> who decides, and is it clean
REAL = [
    (b"a.json", b'{"a":1,"b":2}', b'{"a":3,"b":2}', b'{"a":1,"b":4}', "json", True),
    (b"a.json", b'{"a":1,"a":2}\n', b'{"a":3,"a":2}\n', b'{"a":1,"a":4}\n', "text", False),
    (b"a.json", b'{"a":1,\n2\n3\n"b":2\n', b'{"a":3,\n2\n3\n"b":2\n', b'{"a":1,\n2\n3\n"b":4\n', "text", True),
    (b"notes", b"a\nb\nc\n", b"x\nb\nc\n", b"a\nb\ny\n", "text", True),
]


@pytest.mark.parametrize(("path", "base", "ours", "theirs", "driver", "is_clean"), REAL)
def test_the_built_in_drivers(
    path: bytes, base: bytes, ours: bytes, theirs: bytes, driver: str, is_clean: bool
) -> None:
    merged = merge_content(path, Contents(base, ours, theirs), NONE)
    assert merged is not None
    assert (merged.driver, merged.conflicts == ()) == (driver, is_clean)


@pytest.mark.parametrize("path", [b"a.json", b"a.csv", b"a.ipynb", b"a.sqlite", b"a"])
def test_utf_16_and_zero_bytes_are_left_to_the_tree(path: bytes) -> None:
    texts = ('{"a":1}', '{"a":2}', '{"a":1,"b":3}')
    for encoding, end in (("utf-16", b""), ("utf-8", b"\0")):
        sides = Contents(*(text.encode(encoding) + end for text in texts))
        assert merge_content(path, sides, NONE) is None
        assert merge_content(path, sides, OURS) is None


def test_the_order_of_the_built_in_drivers() -> None:
    names = [driver.name for driver in built_in()]
    assert names[-2:] == ["text", "binary"]
    assert len(set(names)) == len(names)
