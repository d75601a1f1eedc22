"""Snapshots that no push makes, written object by object: what a command refuses, and that it touches nothing then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest

from devtools.demo import Tree, fingerprint
from jvs.castore.backend import Codec, Kind, ObjectWriter, Ref, Stored
from jvs.castore.digest import Digest, file_digest, page_digest, part_digest
from jvs.castore.layout import Place, encode_layout
from jvs.castore.local.store import LocalStore
from jvs.castore.manifest import DIRECTORY, FILE, INDEX, LEAF, SINGLE, SYMLINK, File
from jvs.labels import Labels
from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session

CONTENT = b"content\n"


class Forged(NamedTuple):
    """A directory that was written as it is, and what a row of the directory above says of it."""

    digest: Digest
    entries: int
    bytes: int


class Forger:
    """Writes pages straight into a store, past everything that checks what is encoded."""

    def __init__(self, writer: ObjectWriter) -> None:
        self._writer = writer

    def put(self, kind: Kind, key: Digest, data: bytes, children: list[Ref]) -> None:
        self._writer.put(kind, key, Stored(Codec.RAW, len(data), data), children)

    def page(self, raw: bytes, rows: list[Any]) -> Digest:
        """Store a page of these bytes with what its rows name; its files all lie at the beginning of one part."""
        digest = page_digest(raw)
        children = [Ref(Kind.PAGE, row[3]) for row in rows if row[1] == DIRECTORY]
        files = [File(*row) for row in rows if row[1] == FILE and row[3]]
        if files:
            part = part_digest(CONTENT)
            self.put(Kind.PART, part, CONTENT, [])
            layout = encode_layout(digest, files, [Place(Kind.PART, part, 0) for _ in files])
            self.put(Kind.LAYOUT, digest, layout, [Ref(Kind.PART, part)])
            children.append(Ref(Kind.LAYOUT, digest))
        self.put(Kind.PAGE, digest, raw, children)
        return digest

    def directory(self, *rows: Any) -> Forged:
        """A directory of one page with these rows, in this order."""
        digest = self.page(msgpack.packb([SINGLE, list(rows)]), list(rows))
        below = [row for row in rows if row[1] == DIRECTORY]
        size = sum(row[3] for row in rows if row[1] == FILE) + sum(row[5] for row in below)
        return Forged(digest, len(rows) + sum(row[4] for row in below), size)


def file(name: bytes, mode: int = 0o644, size: int = len(CONTENT), content: bytes = CONTENT) -> tuple[Any, ...]:
    return (name, FILE, mode, size, file_digest(content))


def link(name: bytes, target: bytes) -> tuple[Any, ...]:
    return (name, SYMLINK, target)


def folder(name: bytes, below: Forged, mode: int = 0o755) -> tuple[Any, ...]:
    return (name, DIRECTORY, mode, *below)


def named(name: bytes) -> Callable[[Forger], Forged]:
    """A file of that name beside harmless ones; in a directory below the root, so that others could come first."""

    def forge(forger: Forger) -> Forged:
        rows = sorted([file(b"a"), file(b"z"), file(name)])
        return forger.directory(file(b"first"), folder(b"in", forger.directory(*rows)))

    return forge


def control_directory(forger: Forger) -> Forged:
    """A store of its own, as a directory."""
    inner = forger.directory(file(b"config"), file(b"format_version"))
    return forger.directory(folder(b".jvs", inner), file(b"first"))


def through_a_link(forger: Forger) -> Forged:
    """A link out of the tree, and a directory of the same name to be written through it."""
    inner = forger.directory(file(b"victim"))
    return forger.directory(file(b"first"), link(b"out", b"../outside"), folder(b"out", inner))


def twice(forger: Forger) -> Forged:
    return forger.directory(file(b"first"), file(b"same"), file(b"same", 0o755))


def unsorted(forger: Forger) -> Forged:
    return forger.directory(file(b"b"), file(b"a"))


def trailing(forger: Forger) -> Forged:
    rows = [file(b"first")]
    return Forged(forger.page(msgpack.packb([SINGLE, rows]) + b"\xc0", rows), 1, len(CONTENT))


def wide_integer(forger: Forger) -> Forged:
    """The same page in another encoding: a second id for one tree."""
    rows = [file(b"first")]
    raw = msgpack.packb([SINGLE, rows]).replace(b"\xcd\x01\xa4", b"\xce\x00\x00\x01\xa4")
    return Forged(forger.page(raw, rows), 1, len(CONTENT))


def other_kind(forger: Forger) -> Forged:
    return forger.directory(file(b"first"), (b"pipe", 3, 0o644, 0, file_digest(b"")))


def file_type_bits(forger: Forger) -> Forged:
    return forger.directory(file(b"device", 0o060644))


def false_totals(forger: Forger) -> Forged:
    inner = forger.directory(file(b"a"))
    return forger.directory(file(b"first"), folder(b"in", inner._replace(bytes=1 << 50)))


def false_size(forger: Forger) -> Forged:
    """The layout leads to bytes that are not as many as the entry says."""
    return forger.directory(file(b"first", size=len(CONTENT) - 1))


def false_content(forger: Forger) -> Forged:
    """The layout leads to other bytes than those of the entry's digest."""
    return forger.directory(file(b"first", content=b"another\n"))


def huge_size(forger: Forger) -> Forged:
    return forger.directory(file(b"first", size=1 << 62))


def empty_target(forger: Forger) -> Forged:
    return forger.directory(file(b"first"), link(b"link", b""))


def long_target(forger: Forger) -> Forged:
    return forger.directory(file(b"first"), link(b"link", b"t" * 4_096))


def target_with_nul(forger: Forger) -> Forged:
    return forger.directory(file(b"first"), link(b"link", b"a\0b"))


def overlapping_pages(forger: Forger) -> Forged:
    """An index page over two leaves that both have the name `out`: a link in the first, a directory in the second."""
    inner = forger.directory(file(b"victim"))
    one = [file(b"a%03d" % number) for number in range(200)] + [link(b"out", b"../outside")]
    two = [folder(b"out", inner), *(file(b"p%03d" % number) for number in range(200))]
    rows = []
    for entries, below, size in ((one, 201, 200 * len(CONTENT)), (two, 202, 201 * len(CONTENT))):
        digest = forger.page(msgpack.packb([LEAF, entries]), entries)
        rows.append((entries[-1][0], digest, 201, below, size))
    raw = msgpack.packb([INDEX, 1, rows])
    digest = page_digest(raw)
    forger.put(Kind.PAGE, digest, raw, [Ref(Kind.PAGE, row[1]) for row in rows])
    return Forged(digest, 403, 401 * len(CONTENT))


def not_a_page(forger: Forger) -> Forged:
    return Forged(forger.page(b"\xdd\xff\xff\xff\xff", []), 0, 0)


NAMES = [b".", b"..", b"", b"/", b"a/b", b"../outside/victim", b"/etc/victim", b"nul\0", b"n" * 256]
CONTROL = [b".jvs", b".JVS", b".Jvs"]
FORGERIES = {
    **{f"name {name[:20]!r}": named(name) for name in (*NAMES, *CONTROL)},
    **{
        forge.__name__: forge
        for forge in (
            control_directory,
            through_a_link,
            twice,
            unsorted,
            trailing,
            wide_integer,
            other_kind,
            file_type_bits,
            false_totals,
            false_size,
            false_content,
            huge_size,
            empty_target,
            long_target,
            target_with_nul,
            overlapping_pages,
            not_a_page,
        )
    },
}


def forge(jvs: Session, how: Callable[[Forger], Forged]) -> str:
    """Write a snapshot into the store and give it the label `evil`; its id."""
    with LocalStore.open(str(jvs.where / ".jvs")) as store:
        with store.writer() as writer:
            digest = how(Forger(writer)).digest
            writer.publish()
        Labels(store, actor="mallory").compare_and_set("evil", None, digest)
    return digest.hex()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Iterator[Session]:
    """A store, kept beside it to be put back; `d`, pushed twice as main; `outside`, which nothing may write to."""
    jvs = Jvs(tmp_path_factory.mktemp("hostile"), bytecode)
    jvs("fs", "init").ok()
    tree = jvs.where / "d"
    (tree / "data").mkdir(parents=True)
    for number in range(2):
        (tree / "first").write_text(f"mine {number}\n")
        jvs("fs", "push", "d", "--label", "main").ok()
    (jvs.where / "outside").mkdir()
    (jvs.where / "outside" / "victim").write_text("mine\n")
    (jvs.where / ".jvs").rename(jvs.where / "kept")
    with Session(jvs) as session:
        yield session


@pytest.fixture
def ground(place: Session) -> Session:
    """The place, with a store that nothing was forged in yet."""
    for name in (".jvs", "new", "asked"):
        shutil.rmtree(place.where / name, ignore_errors=True)
    shutil.copytree(place.where / "kept", place.where / ".jvs")
    return place


def everything(where: Path) -> Tree:
    """All that is there but the stores."""
    return {name: entry for name, entry in fingerprint(where).items() if not name.startswith((".jvs", "kept"))}


@pytest.mark.parametrize("how", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_snapshot_is_refused(ground: Session, how: Callable[[Forger], Forged]) -> None:
    """Exit 8 whatever is done with it, before the first file is touched; the other labels go on."""
    forge(ground, how)
    before = everything(ground.where)
    for words in (
        ("fs", "pull", "evil", "new"),
        ("fs", "pull", "evil", "d"),
        ("fs", "pull", "evil", "d", "--discard", "--special-modes"),
        ("fs", "verify", "evil"),
    ):
        done = ground(*words, "--json")
        assert done.status == 8, (words, done)
        assert done.value["error"]["next"]
        assert "Traceback" not in done.err
        assert everything(ground.where) == before, words
    verified = ground("fs", "verify", "--all", "--json")
    assert verified.status == 8, verified
    assert verified.value["damaged"]
    ground("fs", "verify", "main").ok()
    assert ground.json("fs", "pull", "main", "d")["unchanged"] == 2
    assert ground.json("fs", "push", "d", "--always")["status"] == "advanced"


@pytest.mark.parametrize("how", ["through_a_link", "control_directory", "name b'..'", "overlapping_pages"])
def test_looking_at_a_forged_snapshot_shows_nothing_of_it(ground: Session, how: str) -> None:
    """tree, diff, cat and a push of the revision end in one line and exit 8."""
    ca_id = forge(ground, FORGERIES[how])
    before = everything(ground.where)
    for words in (
        ("fs", "tree", "evil"),
        ("fs", "diff", "main", "evil"),
        ("fs", "diff", "evil", "d"),
        ("fs", "cat", "evil:in/../../outside/victim"),
        ("fs", "cat", "evil:out/victim"),
    ):
        done = ground(*words)
        assert done.status in (2, 5, 8), (words, done)
        assert len(done.err.splitlines()) == 2, done.err
        assert "mine" not in done.out
    assert ground("fs", "tree", ca_id).status == 8
    assert everything(ground.where) == before


def test_names_that_only_a_folding_file_system_takes_for_one(ground: Session) -> None:
    """Where they are two names, both files are made."""
    forge(ground, lambda forger: forger.directory(file(b"NAME", 0o755), file(b"Name"), file(b"name")))
    ground("fs", "pull", "evil", "new").ok()
    assert sorted(os.listdir(ground.where / "new")) == ["NAME", "Name", "name"]


def special(forger: Forger) -> Forged:
    """Files that would run as somebody else, in a directory that hands on its group."""
    inner = forger.directory(file(b"both", 0o6755), file(b"group", 0o2755), file(b"user", 0o4755))
    return forger.directory(folder(b"in", inner, 0o3755))


def modes(tree: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o7777 for path in tree.rglob("*")}


def test_setuid_files_only_when_asked_for(ground: Session) -> None:
    """Bits that a pull left out are no change, so a push of the directory gives the same snapshot."""
    ca_id = forge(ground, special)
    answer = ground.json("fs", "pull", "evil", "new")
    assert answer["warnings"]
    plain = {"in": 0o3755, "both": 0o755, "group": 0o755, "user": 0o755}
    assert modes(ground.where / "new") == plain
    pushed = ground.json("fs", "push", "new")
    assert (pushed["status"], pushed["ca_id"]) == ("unchanged", ca_id)
    assert ground.json("fs", "pull", "evil", "asked", "--special-modes")["warnings"] == []
    assert modes(ground.where / "asked") == {"in": 0o3755, "both": 0o6755, "group": 0o2755, "user": 0o4755}
    ground("fs", "pull", "evil", "new", "--special-modes").ok()
    assert modes(ground.where / "new")["user"] == 0o4755


def test_a_tree_too_deep_for_any_path(ground: Session) -> None:
    """Directories without end: refused or made, but no command dies of it."""

    def deep(forger: Forger) -> Forged:
        below = forger.directory(file(b"end"))
        for _ in range(3_000):
            below = forger.directory(folder(b"deeper", below))
        return below

    forge(ground, deep)
    before = everything(ground.where)
    for words in (("fs", "tree", "evil"), ("fs", "verify", "evil"), ("fs", "diff", "main", "evil")):
        done = ground(*words, "--json")
        assert done.status in (0, 1, 8), (words, done.err)
        assert "error" not in done.value or done.value["error"]["code"] != "internal", done.out
    pulled = ground("fs", "pull", "evil", "new", "--json")
    if pulled.status:
        assert pulled.value["error"]["code"] != "internal", pulled.out
        assert everything(ground.where) == before
