"""Trees drawn by hypothesis, cloned by each engine on each file system that it is for, are what they were."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jvs.castore.local.descriptors import sync_filesystem
from jvs.workspace.engines import clone_tree
from tests.conftest import TORTURE
from tests.workspace.engines import places
from tests.workspace.engines.places import Place

BLOCK = 64 << 10
"""Holes are whole ones of these, which is what the largest page size may make of smaller ones."""

names = st.one_of(
    st.sampled_from([b"a", b"b", b"-p", b"--", b"\xff\xfe", b"new\nline", b"\x1b[31m", b"x" * 255, b".jvs"]),
    st.binary(min_size=1, max_size=8).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")),
)
times = st.integers(1, 2**31 * 10**9)
modes = st.sampled_from([0o644, 0o755, 0o600, 0o444, 0o400, 0, 0o4755, 0o2755, 0o6711, 0o1777])
contents = st.lists(
    st.one_of(st.just(None), st.integers(0, 255), st.binary(max_size=100)), max_size=6
)  # of a block each: a hole, a byte repeated; or just some bytes
files = st.tuples(st.just("file"), contents, modes, times)
symlinks = st.tuples(st.just("symlink"), st.sampled_from([b"a", b"/etc/passwd", b"..", b"\xfe", b"x/" * 500]), times)
links = st.tuples(st.just("link"), st.integers(0, 20))
special = st.tuples(st.just("special"), st.sampled_from(["fifo", "socket"]))
leaves = st.one_of(files, symlinks, links, special)
Tree = dict[bytes, object]
trees = st.recursive(
    st.dictionaries(names, leaves, max_size=6),
    lambda below: st.dictionaries(
        names, st.one_of(leaves, st.tuples(st.just("tree"), below, modes, times)), max_size=6
    ),
    max_leaves=6,
)

WHERE = [
    ("ext4", "copy"),
    ("btrfs", "copy"),
    ("xfs", "copy"),
    ("btrfs", "reflink-copy"),
    ("xfs", "reflink-copy"),
    ("juicefs", "juicefs-clone"),
    ("juicefs", "copy"),
]


class Grower:
    """Makes a drawn tree. made: names that a hard link may be made to; skipped: what no clone takes along."""

    def __init__(self) -> None:
        self.made: list[bytes] = []
        self.skipped: list[bytes] = []

    def grow(self, root: bytes, tree: dict[bytes, tuple], prefix: bytes = b"") -> None:  # type: ignore[type-arg]
        for name, node in tree.items():
            path = os.path.join(root, name)
            kind = node[0]
            if kind == "tree":
                os.mkdir(path)
                self.grow(path, node[1], prefix + name + b"/")
                os.utime(path, ns=(node[3], node[3]))
                os.chmod(path, node[2])
            elif kind == "file":
                self._file(path, *node[1:])
                self.made.append(path)
            elif kind == "symlink":
                os.symlink(node[1], path)
                os.utime(path, ns=(node[2], node[2]), follow_symlinks=False)
                self.made.append(path)
            elif kind == "link" and self.made:
                os.link(self.made[node[1] % len(self.made)], path, follow_symlinks=False)
            elif kind == "special":
                self.skipped.append(prefix + name)
                _special(path, node[1])

    def _file(self, path: bytes, content: list[bytes | int | None], mode: int, time: int) -> None:
        with open(path, "wb") as file:
            for number, block in enumerate(content):
                file.seek(number * BLOCK)
                if isinstance(block, int):
                    file.write(bytes([block]) * BLOCK)
                elif block:
                    file.write(block)
            file.truncate(max(file.tell(), len(content) * BLOCK if content and content[-1] is None else 0))
        os.chmod(path, mode)
        os.utime(path, ns=(time, time))


def _special(path: bytes, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
        return
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(os.path.dirname(path))  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.basename(path)[:90])
        os.rename(os.path.basename(path)[:90], os.path.basename(path))
    finally:
        os.fchdir(here)
        os.close(here)


@pytest.mark.parametrize(("where", "engine"), WHERE)
def test_a_clone_is_what_it_was_made_of(where: str, engine: str, request: pytest.FixtureRequest) -> None:
    place: Place = request.getfixturevalue(where)
    count = 5 if where == "juicefs" else 30

    @settings(max_examples=count * 20 if TORTURE else count, suppress_health_check=list(HealthCheck))
    @given(tree=trees, mode=modes, time=times)
    def check(tree: dict[bytes, tuple], mode: int, time: int) -> None:  # type: ignore[type-arg]
        work = places.new(place, "work")
        src, dst = work / "src", work / "dst"
        src.mkdir()
        grower = Grower()
        grower.grow(os.fsencode(src), tree)
        os.chmod(src, mode)
        os.utime(src, ns=(time, time))
        if place.holes:  # XFS takes room beyond what is written, and says only then what of it is a hole
            _sync(src)
        done = clone_tree(str(src), str(dst), engine=engine)
        wanted = _without(places.describe(src, holes=place.holes), grower.skipped)
        assert places.describe(dst, holes=place.holes) == wanted
        assert list(done.skipped) == sorted(grower.skipped)
        assert done.changed == ()
        kinds = [seen[0] for path, seen in wanted.items() if path]
        assert (done.files, done.directories, done.symlinks) == tuple(map(kinds.count, (0o100000, 0o040000, 0o120000)))
        assert done.size == sum(seen[5] for path, seen in wanted.items() if seen[0] == 0o100000 and seen[7] == path)

    check()


def _without(tree: dict[bytes, tuple], paths: list[bytes]) -> dict[bytes, tuple]:  # type: ignore[type-arg]
    return {path: seen for path, seen in tree.items() if path not in paths}


@pytest.mark.parametrize(("where", "engine"), WHERE)
def test_what_is_shared_comes_apart_when_it_is_written_to(
    where: str, engine: str, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(where)
    work = places.new(place, "work")
    src, dst = work / "src", work / "dst"
    src.mkdir()
    (src / "a").write_bytes(b"1" * 200_000)
    (src / "b").write_bytes(b"2" * 200_000)
    clone_tree(str(src), str(dst), engine=engine)
    with open(dst / "a", "r+b") as one, open(src / "b", "r+b") as other:
        one.write(b"new")
        other.write(b"new")
    assert (src / "a").read_bytes() == b"1" * 200_000
    assert (dst / "a").read_bytes() == b"new" + b"1" * 199_997
    assert (dst / "b").read_bytes() == b"2" * 200_000


@pytest.mark.parametrize("where", ["btrfs", "xfs"])
def test_a_reflink_copy_takes_no_room(where: str, request: pytest.FixtureRequest) -> None:
    place: Place = request.getfixturevalue(where)
    work = places.new(place, "work")
    (work / "src").mkdir()
    empty = _free(work)
    (work / "src" / "large").write_bytes(os.urandom(16 << 20))
    before = _free(work)
    assert empty - before > 12 << 20
    clone_tree(str(work / "src"), str(work / "dst"), engine="reflink-copy")
    assert before - _free(work) < 2 << 20


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        sync_filesystem(fd)
    finally:
        os.close(fd)


def _free(path: Path) -> int:
    _sync(path)
    info = os.statvfs(path)
    return info.f_bfree * info.f_frsize
