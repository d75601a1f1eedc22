"""Contents that nobody can merge, or only seemingly: each is a conflict that says so, and none is lost or made up."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import DIRECTORY, FILE, Directory, File
from jvs.merge.build import stream_reader
from tests.conftest import TORTURE
from tests.merge.trees.support import D, F, Model
from tests.workspace.merging.support import LINES, Ground, edited, file

CELL: dict[str, object] = {
    "cell_type": "code",
    "id": "a",
    "metadata": {},
    "source": ["x = 1\n"],
    "outputs": [],
    "execution_count": None,
}
NOTEBOOK = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [CELL]}


def kinds(ground: Ground, name: bytes, *contents: bytes) -> list[str]:
    """The kinds of conflict that these contents of base, ours and theirs come to."""
    base, ours, theirs = ({name: F(content), b"other": F(b"1")} for content in contents)
    ground.fork(dict(base), dict(ours), dict(theirs))
    result = ground.merged()
    swapped = ground.merged("theirs", "ours")
    found: list[str] = [shown.conflict.kind for shown in result.conflicts]
    assert [shown.conflict.kind for shown in swapped.conflicts] == found
    assert result.ca_id == swapped.ca_id
    ground.forget()
    return found


def notebook(source: str) -> bytes:
    return json.dumps(NOTEBOOK | {"cells": [CELL | {"source": [source]}]}).encode()


@pytest.mark.parametrize(
    ("name", "base", "ours", "theirs", "kind"),
    [
        (b"nul", b"a\0b\n", b"A\0b\n", b"a\0B\n", "binary"),
        (b"late nul", LINES + b"\0", edited(LINES, _1="x") + b"\0", edited(LINES, _9="y") + b"\0", "binary"),
        (b"utf16", "\ufeffa\nb\n".encode("utf-16-le"), "\ufeffA\nb\n".encode("utf-16-le"),
         "\ufeffa\nB\n".encode("utf-16-le"), "binary"),
        (b"becomes binary", LINES, b"\0" + LINES, edited(LINES, _9="y"), "binary"),
        (b"broken.json", b'{"a": 1}\n', b'{"a": 2\n', b'{"a": 3}\n', "content"),
        (b"twice.json", b'{"a": 1, "a": 2}\n', b'{"a": 3, "a": 2}\n', b'{"a": 1, "a": 4}\n', "content"),
        (b"broken.ipynb", notebook("a"), notebook("b"), b'{"cells": [}', "content"),
        (b"not one.ipynb", b'{"cells": 1}', b'{"cells": 2}', b'{"cells": 3}', "content"),
        (b"not.csv", b"a,b\n1,2\n", b"a,b\n1,2,3\n", b"a,b\n1,5\n", "content"),
        (b"not.db", b"SQLite format 3\0 no", b"SQLite format 3\0 yes", b"SQLite format 3\0 ja", "binary"),
    ],
)  # fmt: skip
def test_not_merged(ground: Ground, name: bytes, base: bytes, ours: bytes, theirs: bytes, kind: str) -> None:
    assert kinds(ground, name, base, ours, theirs) == [kind]


def test_invalid_utf8_merges_as_bytes(ground: Ground) -> None:
    latin = LINES.replace(b"line 5", b"\xe9\xff\xfe line 5").replace(b"line 20", b"\xc3\x28")
    ground.fork(file(latin), file(edited(latin, _1="one")), file(edited(latin, _9="nine")))
    assert ground.tree(ground.merged()) == file(edited(latin, _1="one", _9="nine"))
    ground.forget()
    ground.fork(file(latin), file(latin.replace(b"\xe9", b"\xe8")), file(latin.replace(b"\xe9", b"\xea")))
    [shown] = ground.merged().conflicts
    assert "�" in shown.regions[0].ours.text
    json.dumps(shown.as_json(), allow_nan=False)


def test_names_that_are_not_utf8(ground: Ground) -> None:
    name = b"caf\xe9\n"
    ground.fork({name: F(b"a\n")}, {name: F(b"b\n")}, {name: F(b"c\n")})
    value = json.loads(json.dumps(ground.merged(explain=True).as_json()))
    [conflict] = value["conflicts"]
    assert base64.b64decode(conflict["path_b64"]) == name
    for side, content in (("base", b"a\n"), ("ours", b"b\n"), ("theirs", b"c\n")):
        revision = os.fsdecode(base64.b64decode(conflict[side]["rev_b64"]))
        assert b"".join(ground.repo.cat(revision)) == content
    assert base64.b64decode(value["decisions"][0]["path_b64"]) == name


def database(place: Path, wal: bool, rows: dict[int, str], extra: str = "") -> bytes:
    """An SQLite file; with `wal` its last rows are only in the write-ahead log beside it."""
    place.unlink(missing_ok=True)
    db = sqlite3.connect(place)
    db.execute("create table t (id integer primary key, v text)")
    db.executescript(extra)
    db.executemany("insert into t values (?, ?)", rows.items())
    db.commit()
    if wal:
        db.execute("pragma journal_mode = wal")
    db.close()
    return place.read_bytes()


def test_a_database_in_wal_mode_is_never_merged(ground: Ground, tmp_path: Path) -> None:
    rows = dict.fromkeys(range(10), "x")
    for wal, extra, found in ((True, "", ["binary"]), (False, "create table more (a)", ["binary"]), (False, "", [])):
        base = database(tmp_path / "a", wal, rows)
        ours = database(tmp_path / "b", wal, rows | {1: "ours"})
        theirs = database(tmp_path / "c", wal, rows | {7: "theirs"}, extra)
        assert kinds(ground, b"data.db", base, ours, theirs) == found


def huge(ground: Ground, mark: bytes, size: int) -> Digest:
    """The snapshot of a file of zeros behind a mark, as sparse files are."""
    with ground.writer() as writer:
        digest, length = writer.stream(stream_reader([mark, *[bytes(1 << 20)] * (size >> 20)]))
        directory = writer.directory()
        directory.add(File(b"huge", FILE, 0o644, length, digest))
        tree = directory.finish()
        writer.publish()
    return tree.digest


def test_huge_files_are_not_read(ground: Ground) -> None:
    """A conflict that says that it is their size, in little memory."""
    size = (1 << 30) if TORTURE else 64 << 20
    labels = ground.repo.labels
    labels.compare_and_set("ours", None, huge(ground, b"base", size))
    ground.branch("theirs", "ours")
    for label in ("ours", "theirs"):
        labels.compare_and_set(label, 1, huge(ground, label.encode(), size))
    tracemalloc.start()
    result = ground.merged()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    [shown] = result.conflicts
    assert (shown.conflict.kind, shown.regions) == ("binary", ())
    assert "larger than" in shown.conflict.detail
    assert peak < 16 << 20
    preferred = ground.merged(prefer="theirs")
    assert preferred.ca_id == preferred.theirs


def test_answers_are_bounded(ground: Ground) -> None:
    """Many conflicts, many regions, long regions: counted all, shown in part, and all to be read."""
    wide = b"".join(b"x%d\n-\n-\n-\n-\n" % number for number in range(50))
    long = b"%s\n" % (b"long " * 10_000)
    base: Model = {b"d": D({b"%d" % number: F(LINES) for number in range(1_100)}), b"wide": F(wide), b"z": F(long)}

    def side(name: bytes) -> Model:
        return {
            b"d": D({b"%d" % number: F(LINES.replace(b"line 3\n", name)) for number in range(1_100)}),
            b"wide": F(wide.replace(b"x", name)),
            b"z": F(long.replace(b"long", name)),
        }

    ground.fork(base, side(b"ours"), side(b"theirs"))
    result = ground.merged()
    value = result.as_json()
    assert (len(value["conflicts"]), value["total_conflicts"]) == (1_000, 1_102)
    ground.forget()
    base.pop(b"d")
    ground.fork(
        base, *({key: item for key, item in side(name).items() if key != b"d"} for name in (b"ours", b"theirs"))
    )
    value = ground.merged().as_json()
    regions, [cut] = value["conflicts"][0]["regions"], value["conflicts"][1]["regions"]
    assert (len(regions), value["conflicts"][0]["total_regions"]) == (20, 50)
    assert cut["whole"] is False
    assert len(cut["ours"]) == 16 << 10
    assert b"".join(ground.repo.cat(value["conflicts"][1]["ours"]["rev"])) == long.replace(b"long", b"ours")


def chain(ground: Ground, data: bytes) -> Digest:
    """The snapshot of a file 2,000 directories down."""
    with ground.writer() as writer:
        directory = writer.directory()
        directory.add(File(b"f", FILE, 0o644, len(data), file_digest(data)), data)
        tree = directory.finish()
        for _ in range(2_000):
            directory = writer.directory()
            directory.add(Directory(b"d", DIRECTORY, 0o755, *tree))
            tree = directory.finish()
        writer.publish()
    return tree.digest


def test_a_tree_as_deep_as_any(ground: Ground) -> None:
    snapshots = []
    for data in (LINES, edited(LINES, _1="one"), edited(LINES, _9="nine"), edited(LINES, _1="one", _9="nine")):
        snapshots.append(chain(ground, data))
    labels = ground.repo.labels
    labels.compare_and_set("ours", None, snapshots[0])
    ground.branch("theirs", "ours")
    labels.compare_and_set("ours", 1, snapshots[1])
    labels.compare_and_set("theirs", 1, snapshots[2])
    assert ground.merged(explain=True).ca_id == snapshots[3]
