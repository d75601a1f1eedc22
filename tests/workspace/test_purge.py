"""Purges: what was named is nowhere in the store, and everything else is as it was."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from jvs.castore import codec
from jvs.castore.backend import Codec, Kind, Stored
from jvs.castore.digest import Digest, file_digest
from jvs.castore.local.pack import HEADER, pack_of
from jvs.castore.local.scan import scan_pack
from jvs.castore.manifest import DIRECTORY
from jvs.castore.settings import StoreSettings
from jvs.errors import (
    CollectedError,
    PurgedContentError,
    StateError,
    UnknownError,
    UnsavedChangesError,
    UsageError,
)
from jvs.labels import purges
from jvs.labels.verify import verify_labels
from jvs.workspace import purge as purging
from jvs.workspace.merging.merge import MergeOptions
from jvs.workspace.purge_plan import Survey
from jvs.workspace.purge_results import PurgeResult
from jvs.workspace.repo import Repo
from tests.labels.test_replay import rebuild, tables

SETTINGS = StoreSettings(chunk_min=1024, chunk_avg=2048, chunk_max=8192, inline_limit=4096)
MARK = random.Random(99).randbytes(48)


def contents(repo: Repo, snapshot: Digest) -> dict[bytes, bytes]:
    """Every file of a snapshot, read back."""
    objects = repo.objects
    found = {}
    for above, page, entries in objects.walk(snapshot):
        for entry in entries:
            path = b"/".join((*above, entry[0]))
            if entry[1] == 0:
                found[path] = b"".join(objects.read(page, entry))
            elif entry[1] == DIRECTORY:
                found[path + b"/"] = b""
    return found


def traces(store: Path, secret: bytes) -> list[str]:
    """Where in the directory of a store some bytes are: as they are, or in a record, whether or not it is live."""
    found = []
    for path in store.rglob("*"):
        if not path.is_file():
            continue
        if secret in path.read_bytes():
            found.append(str(path))
        pack = pack_of(path.name)
        if pack is None:
            continue
        with path.open("rb", buffering=0) as file:
            records, _ = scan_pack(file.fileno(), pack)
            for offset, record in records:
                raw = os.pread(file.fileno(), record.stored, offset + HEADER)
                plain = codec.decode(Kind(record.kind), Stored(Codec(record.codec), record.size, raw))
                if secret in plain:
                    found.append(f"{path.name}: {Kind(record.kind).name} at {offset}")
    return found


class Ground:
    """A store, and trees that are pushed to it."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.store = where / "store"
        self.source = where / "source"
        self.noise = random.Random(4)
        Repo.init(str(self.store), SETTINGS)
        self.repo = Repo.open(str(self.store), actor="tester")

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Make the source have these files (None: not any more), among others."""
        self.source.mkdir(exist_ok=True)
        for name, data in files.items():
            path = self.source / name
            if data is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def push(self, label: str = "main", **options: object) -> Digest:
        done = self.repo.push(str(self.source), label=label, force=True, **options)  # type: ignore[arg-type]
        return done.ca_id

    def reopen(self) -> Repo:
        self.repo.close()
        self.repo = Repo.open(str(self.store), actor="tester")
        return self.repo

    def fresh(self, files: Mapping[bytes, bytes]) -> Digest:
        """The id that a push of such a tree to another store gets."""
        with tempfile.TemporaryDirectory(dir=self.where) as where:
            tree = Path(where) / "tree"
            tree.mkdir()
            for name, data in files.items():
                path = tree / os.fsdecode(name)
                if name.endswith(b"/"):
                    path.mkdir(parents=True, exist_ok=True)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            Repo.init(str(Path(where) / "other"), StoreSettings())
            with Repo.open(str(Path(where) / "other"), actor="x") as other:
                return other.push(str(tree), label="x").ca_id

    def check(self) -> None:
        """Everything in the store is whole, and the journal alone tells the same."""
        assert self.repo.verify().damaged == ()
        with self.repo.store.read() as txn:
            verify_labels(txn)
        replayed, _ = rebuild(list(self.repo.store.journal_records()))
        assert tables(replayed) == tables(self.repo.store)


@pytest.fixture
def ground() -> Iterator[Ground]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as where:
        made = Ground(Path(where))
        try:
            yield made
        finally:
            made.repo.close()


def history(ground: Ground) -> list[Digest]:
    """Five snapshots; keys/one and keys/big, in three of them, are the secrets, at the size of a part and of chunks."""
    noise = ground.noise
    files = {f"data/{number}": noise.randbytes(700) for number in range(20)}
    files |= {f"keys/pub{number}": noise.randbytes(300) for number in range(3)}
    files["large"] = noise.randbytes(40_000)
    ground.write(files)
    out = [ground.push(message="one")]
    ground.write({"keys/one": MARK + b"first", "keys/big": noise.randbytes(30_000) + MARK + noise.randbytes(9_000)})
    out.append(ground.push(message="two", tags=("v2",)))
    ground.write({"data/3": noise.randbytes(700), "keys/one": noise.randbytes(90) + MARK + b"second"})
    out.append(ground.push(message="three"))
    ground.write({"keys/pub1": noise.randbytes(300)})
    out.append(ground.push(message="four"))
    ground.write({"keys/one": None, "keys/big": None})
    out.append(ground.push(message="five"))
    return out


def purge(ground: Ground, *paths: str, **options: object) -> PurgeResult:
    named = [os.fsencode(path) for path in paths]
    return ground.repo.purge(named, reason="leaked", **options)  # type: ignore[arg-type]


def test_it_is_gone_and_everything_else_is_as_it_was(ground: Ground) -> None:
    snapshots = history(ground)
    before = [contents(ground.repo, snapshot) for snapshot in snapshots]
    assert traces(ground.store, MARK), "the test must be able to find it"
    result = purge(ground, "keys/one", "keys/big")
    assert (result.done, result.snapshots, result.labels, result.files) == (True, 3, ("main",), 3)
    assert traces(ground.store, MARK) == []
    ground.check()
    repo = ground.reopen()
    for number, (snapshot, files) in enumerate(zip(snapshots, before, strict=True), start=1):
        wanted = {path: data for path, data in files.items() if path not in (b"keys/one", b"keys/big")}
        now = repo.resolve(f"main@{number}").ca_id
        assert contents(repo, now) == wanted
        assert now == ground.fresh(wanted)
        assert repo.resolve(snapshot.hex()).ca_id == now
        assert repo.resolve(snapshot.hex()[:12]).ca_id == now
        assert repo.resolve(now.hex()[:12]).ca_id == now
        assert (now == snapshot) == (wanted == files)
    assert repo.resolve("tag:v2").ca_id == repo.resolve("main@2").ca_id
    assert not any(repo.has_snapshot(snapshot) for snapshot in snapshots[1:4])


def test_the_history_says_so_and_keeps_its_chain(ground: Ground) -> None:
    snapshots = history(ground)
    before = list(ground.repo.log("main", None))
    result = purge(ground, "keys/*")
    newest, *entries = ground.repo.log("main", None)
    assert entries == before
    assert (newest.op, newest.message, newest.meta["snapshots"]) == ("purge", "leaked", 5)
    assert result.purge_id is not None
    assert newest.meta["purge"] == result.purge_id.hex()
    assert newest.meta["replaced"][snapshots[0].hex()] == ground.repo.resolve("main@1").ca_id.hex()
    assert ground.repo.labels.require("main").ca_id == newest.to == ground.repo.resolve("main").ca_id
    assert ground.repo.resolve("main@{1}").generation == 4, "no move of anybody's"
    ops = [record.op for record in ground.repo.store.journal_records()]
    assert next(op for op in ops if op.startswith("purge")) == "purge"
    assert ops[-1] == "purge.done"
    begun = next(record for record in ground.repo.store.journal_records() if record.op == "purge")
    assert begun.body == {"actor": "tester", "reason": "leaked", "paths": [b"keys/*"], "snapshot": None}


def test_a_directory_can_be_pushed_on_but_not_with_what_was_purged(ground: Ground) -> None:
    history(ground)
    ground.write({"keys/one": MARK + b"first"})
    ground.repo.push(str(ground.source), label="main")
    result = purge(ground, "keys/one")
    assert f"{ground.source}, which still has keys/one" in result.unreachable
    with pytest.raises(PurgedContentError) as refused:
        ground.repo.push(str(ground.source), label="main")
    assert (refused.value.details["path"], refused.value.exit_status) == ("keys/one", 1)
    ground.write({"keys/one": None, "elsewhere/deep/er": MARK + b"first"})
    with pytest.raises(PurgedContentError, match="elsewhere/deep/er"):
        ground.repo.push(str(ground.source), label="main")
    ground.write({"elsewhere/deep/er": None, "new": b"good"})
    (ground.source / "elsewhere/deep").rmdir()
    (ground.source / "elsewhere").rmdir()
    done = ground.repo.push(str(ground.source), label="main")
    assert (done.status, done.error) == ("advanced", None)
    assert traces(ground.store, MARK + b"first") == [], "not even of what was refused"


def test_what_is_allowed_is_purged_no_more(ground: Ground) -> None:
    ground.write({"a": b"good", "secret": MARK})
    before = ground.push()
    purge(ground, "secret")
    allowed = ground.repo.push(str(ground.source), label="main", allow_purged=True)
    assert allowed.ca_id == before
    assert ground.repo.resolve("main").ca_id == ground.repo.resolve(before.hex()).ca_id == before
    ground.write({"b": b"more"})
    assert ground.repo.push(str(ground.source), label="main").status == "advanced"
    ground.check()
    result = purge(ground, "secret")
    assert (result.done, result.snapshots) == (True, 2)
    assert traces(ground.store, MARK) == []
    ground.check()


def test_content_at_another_path_stays_and_is_reported(ground: Ground) -> None:
    ground.write({"secret": MARK, "keep/copy": MARK, "other": b"x" * 200})
    ground.push()
    dry = purge(ground, "secret", dry_run=True)
    assert [(one.path, one.size) for one in dry.also] == [(b"keep/copy", len(MARK))]
    result = purge(ground, "secret")
    assert result.also[0].path == b"keep/copy"
    assert (result.files, result.snapshots) == (0, 1)
    snapshot = ground.repo.resolve("main").ca_id
    assert contents(ground.repo, snapshot)[b"keep/copy"] == MARK
    ground.write({"secret": None, "again": MARK})
    assert ground.repo.push(str(ground.source), label="main").status == "advanced", "not on the list"


def test_pins_detached_deleted_and_other_labels_follow(ground: Ground) -> None:
    ground.write({"secret": MARK + b"1", "a": b"1"})
    pinned = ground.push()
    ground.repo.pin("main", message="mine")
    ground.write({"secret": MARK + b"2"})
    ground.push("gone")
    ground.repo.delete_label("gone")
    ground.write({"secret": MARK + b"3"})
    detached = ground.repo.push(str(ground.source), detach=True).ca_id
    ground.write({"secret": MARK + b"4"})
    ground.push("agent/1")
    result = purge(ground, "secret")
    assert result.labels == ("agent/1", "main")
    assert traces(ground.store, MARK) == []
    clean = ground.fresh({b"a": b"1"})
    repo = ground.repo
    assert {repo.resolve(name).ca_id for name in ("main", "agent/1", pinned.hex(), detached.hex()[:10])} == {clean}
    assert [info.pin.ca_id for info in repo.pins()] == [clean]
    assert repo.undelete_label("gone").ca_id == clean
    assert repo.undo("gone") is not None
    ground.repo.unpin(pinned.hex())
    assert repo.pins() == []
    ground.check()
    ground.repo.gc_run()
    ground.check()


def test_undo_and_reset_go_to_what_took_the_place(ground: Ground) -> None:
    snapshots = history(ground)
    purge(ground, "keys/one")
    ground.repo.undo("main")
    assert b"keys/one" not in contents(ground.repo, ground.repo.labels.require("main").ca_id)
    ground.repo.reset("main", snapshots[2].hex())
    assert ground.repo.labels.require("main").ca_id == ground.repo.resolve("main@3").ca_id
    assert ground.repo.diff("main@3").added or ground.repo.diff("main@3").modified
    ground.check()


def test_merges_start_from_what_took_the_place_of_the_base(ground: Ground) -> None:
    ground.write({"secret": MARK, "a": b"1\n", "b": b"1\n"})
    ground.push()
    ground.repo.set_label("work", "main")
    ground.write({"a": b"2\n"})
    ground.push()
    ground.repo.pull("work", str(ground.source), discard=True)
    ground.write({"b": b"2\n"})
    ground.repo.push(str(ground.source), label="work")
    purge(ground, "secret")
    merged = ground.repo.merge("main", "work", MergeOptions(into="main"))
    assert merged.ca_id is not None
    assert contents(ground.repo, merged.ca_id) == {b"a": b"2\n", b"b": b"2\n"}
    assert ground.repo.gc_run().done
    ground.check()


def test_a_pull_takes_what_was_purged_for_unsaved(ground: Ground) -> None:
    """It is nowhere else any more, and only its owner knows what it is worth."""
    ground.write({"secret": MARK, "a": b"1"})
    ground.repo.push(str(ground.source), label="main")
    other = ground.where / "other"
    ground.repo.pull("main", str(other))
    (other / "a").write_bytes(b"2")
    (other / "secret").unlink()
    ground.repo.push(str(other), label="main")
    purge(ground, "secret")
    with pytest.raises(UnsavedChangesError) as refused:
        ground.repo.pull("main", str(ground.source))
    assert refused.value.details["count"] == 1
    assert (ground.source / "secret").read_bytes() == MARK
    with pytest.raises(PurgedContentError):
        ground.repo.pull("main", str(ground.source), autosave=True)
    ground.repo.pull("main", str(ground.source), discard=True)
    assert not (ground.source / "secret").exists()
    assert ground.repo.pull("main", str(other)).written == 0
    assert traces(ground.store, MARK) == []


def test_two_at_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one meets snapshots that the first has just replaced."""
    history(ground)
    before = contents(ground.repo, ground.repo.resolve("main@3").ca_id)
    replace = purging._Purge._replace
    asked: list[bool] = []

    def beaten(self: purging._Purge, found: Survey) -> None:
        if not asked:
            asked.append(True)
            with Repo.open(str(ground.store), actor="other") as other:
                assert other.purge([b"keys/big"], reason="also").done
        replace(self, found)

    monkeypatch.setattr(purging._Purge, "_replace", beaten)
    assert purge(ground, "keys/one").done
    assert traces(ground.store, MARK) == []
    left = {path: data for path, data in before.items() if path not in (b"keys/one", b"keys/big")}
    assert contents(ground.repo, ground.repo.resolve("main@3").ca_id) == left
    assert [entry.op for entry in ground.repo.log("main", 3)] == ["purge", "purge", "force"]
    ground.check()


def test_a_whole_snapshot(ground: Ground) -> None:
    snapshots = history(ground)
    kept = contents(ground.repo, snapshots[4])
    ground.write({"only/here": MARK + b"x", "keys/one": MARK + b"first"})
    wrong = ground.push()
    with pytest.raises(StateError) as refused:
        ground.repo.purge((), wrong.hex(), "wrong")
    assert refused.value.code == "snapshot-in-use"
    ground.repo.reset("main", "main@5")
    result = ground.repo.purge((), "main@6", "wrong directory")
    assert (result.done, result.snapshots, result.files) == (True, 1, 1)
    assert not any("only/here" in line for line in traces(ground.store, MARK + b"x"))
    assert traces(ground.store, MARK + b"x") == []
    for revision in ("main@6", wrong.hex()):
        with pytest.raises(CollectedError, match="purged"):
            ground.repo.resolve(revision)
    with pytest.raises(CollectedError):
        ground.repo.reset("main", wrong.hex())
    assert contents(ground.repo, ground.repo.resolve("main").ca_id) == kept
    with pytest.raises(PurgedContentError, match="only/here"):
        ground.repo.push(str(ground.source), label="main")
    ground.check()


def test_dead_bytes_of_collected_snapshots_go_too(ground: Ground) -> None:
    """A part, and a pack, may still hold a copy that no snapshot has."""
    files = {f"d/{number}": ground.noise.randbytes(500) for number in range(30)}
    ground.write(files | {"d/secret": MARK})
    ground.push()
    ground.write({"d/secret": None})
    ground.push()
    ground.repo.set_retention(["keep-last", "1"])
    ground.repo.gc_run()
    assert traces(ground.store, MARK)
    ground.write({"e/secret": MARK})
    ground.push()
    assert purge(ground, "e/secret").done
    assert traces(ground.store, MARK) == []
    ground.check()


def test_a_dry_run_changes_nothing(ground: Ground) -> None:
    snapshots = history(ground)
    records = len(list(ground.repo.store.journal_records()))
    result = purge(ground, "keys/one", "keys/big", dry_run=True)
    assert (result.dry_run, result.snapshots, result.files, result.purge_id) == (True, 3, 3, None)
    assert result.paths == (b"keys/big", b"keys/one")
    assert len(list(ground.repo.store.journal_records())) == records
    assert [ground.repo.resolve(f"main@{number + 1}").ca_id for number in range(5)] == snapshots
    done = purge(ground, "keys/one", "keys/big")
    same = ("paths", "snapshots", "labels", "files", "bytes", "also", "shared_chunks", "shared_bytes")
    assert [getattr(done, name) for name in same] == [getattr(result, name) for name in same]


def test_chunks_that_other_files_share_are_reported(ground: Ground) -> None:
    common = ground.noise.randbytes(40_000)
    ground.write({"secret": common + ground.noise.randbytes(20_000), "public": common})
    ground.push()
    result = purge(ground, "secret")
    assert result.done
    assert result.shared_chunks > 0
    assert 20_000 < result.shared_bytes <= 40_000
    assert contents(ground.repo, ground.repo.resolve("main").ca_id) == {b"public": common}
    ground.check()


@pytest.mark.parametrize(
    ("glob", "gone"),
    [
        ("a", {b"a"}),
        ("*.pem", {b"x.pem"}),
        ("**/*.pem", {b"x.pem", b"d/y.pem", b"d/e/z.pem"}),
        ("d/**", {b"d/y.pem", b"d/e/z.pem", b"d/e/"}),
        ("d/", {b"d/", b"d/y.pem", b"d/e/z.pem", b"d/e/"}),
        ("d/**/z.pem", {b"d/e/z.pem"}),
        ("**/e", {b"d/e/", b"d/e/z.pem"}),
        ("[ab]", {b"a", b"b"}),
        ("**", {b"a", b"b", b"x.pem", b"d/", b"d/y.pem", b"d/e/", b"d/e/z.pem"}),
    ],
)
def test_patterns(ground: Ground, glob: str, gone: set[bytes]) -> None:
    names = ("a", "b", "x.pem", "d/y.pem", "d/e/z.pem")
    ground.write({name: name.encode() for name in names})
    before = contents(ground.repo, ground.push())
    assert purge(ground, glob).done
    after = contents(ground.repo, ground.repo.resolve("main").ca_id)
    assert before.keys() - after.keys() == gone
    assert after.items() <= before.items()


def test_a_large_directory(ground: Ground) -> None:
    """Index pages, and a directory that shrinks to one page."""
    ground.write({f"d/{number:04}": b"%d" % number for number in range(700)})
    ground.push()
    ground.write({"d/0100": b"changed"})
    second = ground.push()
    before = contents(ground.repo, second)
    assert purge(ground, "d/*1*", "d/*2*").snapshots == 2
    wanted = {path: data for path, data in before.items() if not set(b"12") & set(path[2:])}
    now = ground.repo.resolve("main").ca_id
    assert contents(ground.repo, now) == wanted
    assert now == ground.fresh(wanted)
    ground.check()


def test_what_cannot_be_meant(ground: Ground) -> None:
    ground.write({"a": b"1"})
    ground.push()
    for paths, snapshot, reason in ((("a",), "main", "x"), ((), None, "x"), (("a",), None, " "), (("",), None, "x")):
        with pytest.raises(UsageError):
            ground.repo.purge([os.fsencode(path) for path in paths], snapshot, reason)
    with pytest.raises(UnknownError) as unknown:
        purge(ground, "b")
    assert unknown.value.code == "unknown-path"
    assert "purge" not in [record.op for record in ground.repo.store.journal_records()]


def test_recorded_resolutions_and_stat_indexes_go(ground: Ground) -> None:
    folder = ground.store / "recorded" / ("ab" * 16)
    other = ground.store / "recorded" / ("cd" * 16)
    for place, path in ((folder, b"keys/one"), (other, b"data/1")):
        place.mkdir(parents=True)
        for part, data in (("before", b"<<<<" + MARK), ("after", b"x"), ("path", path)):
            (place / part).write_bytes(data if place == folder or part != "before" else b"<<<<")
    history(ground)
    assert list((ground.store / "cache" / "directories").glob("*.index"))
    assert purge(ground, "keys/one").recorded == 1
    assert not folder.exists()
    assert other.exists()
    assert list((ground.store / "cache" / "directories").glob("*.index")) == []
    assert traces(ground.store, MARK + b"first") == []


def test_a_rebuild_brings_nothing_back(ground: Ground) -> None:
    from jvs.workspace.doctor import doctor

    history(ground)
    purge(ground, "keys/*")
    ground.repo.close()
    doctor(str(ground.store), rebuild_index=True)
    repo = ground.reopen()
    assert not [path for path in contents(repo, repo.resolve("main@3").ca_id) if path.startswith(b"keys/p")]
    ground.write({"keys/one": MARK + b"first"})
    with pytest.raises(PurgedContentError):
        repo.push(str(ground.source), label="main")
    assert file_digest(MARK) is not None
    ground.check()


@pytest.mark.parametrize(
    ("where", "step", "instead"),
    [
        (purging._Purge, "_collect", lambda self: None),
        (purging._Purge, "_rewrite_packs", lambda self: None),
        (purging, "riddled", lambda *_: set()),
        (purging, "tainted", lambda *_: []),
        (purges, "write_replaced", lambda *_: None),
    ],
    ids=["collecting", "rewriting packs", "laying out pages", "finding packs", "replacing snapshots"],
)
def test_each_step_is_needed(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, where: object, step: str, instead: object
) -> None:
    """Without it something of the secret is left."""
    files = {f"{number}": ground.noise.randbytes(300) for number in range(10)}
    ground.write(files | {"secret": MARK})
    ground.push()
    monkeypatch.setattr(purging, "PAUSE", 0)
    monkeypatch.setattr(purging, "ROUNDS", 2)
    with monkeypatch.context() as broken:
        broken.setattr(where, step, instead)
        with suppress(StateError):
            purge(ground, "secret")
    assert traces(ground.store, MARK)


def test_without_the_list_it_can_come_back(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.write({"secret": MARK, "a": b"1"})
    ground.push()
    monkeypatch.setattr(purging._Purge, "_list", lambda self, found: None)
    purge(ground, "secret")
    assert ground.repo.push(str(ground.source), label="main").status == "advanced"
    assert traces(ground.store, MARK)
