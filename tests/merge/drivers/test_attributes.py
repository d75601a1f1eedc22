"""`.jvsattributes`: the verdict of `git check-attr` is the oracle."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from jvs.merge.drivers.attributes import Attributes, Settings

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git, whose verdict is the oracle")

ASKED = [b"merge", b"text", b"diff", b"json", b"csv", b"x.y-z"]
PATHS = [
    b"]",
    b"a",
    b"b",
    b"a b",
    b"#a",
    b"c/a",
    b"c/b",
    b"c/d/a",
    b"c/d/x.json",
    b"x.json",
    b"c/d/\xc3\xa9",
    b"-a",
    b"a ",
]

# (the root's file, that of the directory c or None)
TABLE: list[tuple[bytes, bytes | None]] = [
    (b"", None),
    (b"* merge=json\n", None),
    (b"*.json json\n*.json -json\n", None),
    (b"*.json json -json\n", None),
    (b"*.json json\nx.json !json\n", None),
    (b"* merge=a\nc/** merge=b\nc/d/** merge=c\n", None),
    (b"* merge=a\n", b"* merge=b\n"),
    (b"c/d/a merge=a\n", b"d/a merge=b\n"),
    (b"c/d/a merge=a\n", b"* text\na csv\n"),
    (b"/a merge\n", b"/a -merge\n"),
    (b"c merge\nc/ text\n", None),
    (b"* binary\nx.json merge=json\n", None),
    (b"* binary merge=json\n", None),
    (b"* merge=json binary\n", None),
    (b"* -binary\n", None),
    (b"* !binary\n", None),
    (b'"a b" merge=x\n', None),
    (b'"\\303\\251" merge=x\n', None),
    (b'"a\\x" merge=x\n', None),
    (b'"a\\t" merge=x\n', None),
    (b'"#a" merge=x\n', None),
    (b'"a " merge=x\n', None),
    (b'"a b merge=x\n', None),
    (b"#a merge\n# b text\n", None),
    (b"\\#a merge\n", None),
    (b"!a merge\n", None),
    (b"-a merge\n", None),
    (b"] merge\n", None),
    (b"  a   merge=x\ttext  \r\n\tb\tcsv\r\n", None),
    (b"\xef\xbb\xbfa merge\n", None),
    (b"a merge=\n", None),
    (b"a -merge=x\n", None),
    (b"a =x\n", None),
    (b"a text =x\n", None),
    (b"a text me:rge\n", None),
    (b"a x.y-z\n", None),
    (b"a --merge\n", None),
    (b"a\n", None),
    (b"a" * 2048 + b" merge\n* text\n", None),
    (b"* text " + b" " * 2048 + b"merge\n", None),
    (b"[attr]foo merge=x\n", None),
    (b"[ab] merge=x\n[!a] text\n", None),
    (b"**/a merge=x\n**/d/** text\n", None),
]


class Oracle:
    """A tree on which git and we are asked about every path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        subprocess.run(["git", "init", "-q", root], check=True)
        (root / "c" / "d").mkdir(parents=True)

    def compare(self, content: bytes, below: bytes | None) -> None:
        """Fail where git and we differ; `below` is the file of the directory c."""
        (self.root / ".gitattributes").write_bytes(content)
        second = self.root / "c" / ".gitattributes"
        second.unlink(missing_ok=True)
        if below is not None:
            second.write_bytes(below)
        top = Attributes(None, 0, content)
        inner = top if below is None else Attributes(top, 1, below)
        answer = subprocess.run(
            ["git", "check-attr", "-z", "--stdin", *(name.decode() for name in ASKED)],
            cwd=self.root,
            input=b"\0".join([*PATHS, b""]),
            capture_output=True,
            check=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.root)},
        ).stdout.split(b"\0")
        for at in range(0, len(answer) - 1, 3):
            path, name, said = answer[at : at + 3]
            *above, leaf = path.split(b"/")
            settings = (inner if above else top).of(above, leaf)
            assert as_git(settings, name) == said, (content, below, path, name)


def as_git(settings: Settings, name: bytes) -> bytes:
    """A value as `git check-attr` shows it."""
    value = settings.get(name)
    if isinstance(value, bytes):
        return value
    return {True: b"set", False: b"unset", None: b"unspecified"}[value]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    return Oracle(tmp_path_factory.mktemp("git"))


@needs_git
@pytest.mark.parametrize("files", TABLE, ids=lambda files: repr(files)[:60])
def test_a_table_of_files_reads_as_in_git(oracle: Oracle, files: tuple[bytes, bytes | None]) -> None:
    oracle.compare(*files)


@needs_git
def test_random_files_read_as_in_git(oracle: Oracle) -> None:
    rng = random.Random(3)
    globs = [b"*", b"a", b"*.json", b"/a", b"c/*", b"c/**", b"d/a", b"**/a", b"[a-b]", b'"a b"', b"?", b"#a", b"!a"]
    words = b"merge -merge !merge merge=json json !json binary text -text a:b diff".split()

    def file() -> bytes:
        lines = ([rng.choice(globs), *rng.sample(words, rng.randint(0, 3))] for _ in range(rng.randint(0, 5)))
        return b"\n".join(map(b" ".join, lines))

    for _ in range(80):
        oracle.compare(file(), file() if rng.random() < 0.5 else None)


def test_what_was_decided_last_stands_last() -> None:
    attributes = Attributes(None, 0, b"* json csv\n*.x json\n")
    assert list(attributes.of((), b"a.x")) == [b"csv", b"json"]
    assert list(attributes.of((), b"a.y")) == [b"json", b"csv"]
