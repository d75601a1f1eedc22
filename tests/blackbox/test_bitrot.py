"""Every bit of every file of a small store, met through commands: found, or of no use to anybody (DESIGN 12)."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devtools.demo import Tree, fingerprint
from jvs.castore.local import env
from tests.blackbox.aftermath import check_chain
from tests.blackbox.conftest import Done, Jvs
from tests.blackbox.session import Died, Session
from tests.castore.local.flipper import flip
from tests.castore.local.test_damage import DEADLY
from tests.conftest import TORTURE

SAMPLE = 200
DAMAGE = frozenset(
    [
        *("damaged", "index-damaged", "index-rolled-back", "journal-damaged", "bad-manifest", "object-missing"),
        *("entry-damaged", "lineage-broken"),
    ]
)
NO_STORE = frozenset(["not-a-store", "no-store", "format-unsupported"])
"""What a store whose `format_version` cannot be read is."""


class Golden(NamedTuple):
    """A closed store, and what commands say of it. jvs: in the directory with a copy of it and `d`, which was pushed as
    main and then changed."""

    jvs: Jvs
    kept: Path
    labels: dict[str, Any]
    logs: dict[str, Any]
    files: dict[str, str]
    trees: dict[str, Tree]
    pushed: str

    def restore(self) -> Path:
        """Make the store what it was."""
        store = self.jvs.where / ".jvs"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.kept, store, ignore=shutil.ignore_patterns("lock.mdb"))
        return store


def make(tree: Path) -> None:
    """A file of every way to be stored: in a part, as one chunk, as chunks; and names that need pages."""
    noise = random.Random(11)
    (tree / "below").mkdir(parents=True)
    (tree / "small").write_text("a small file\n" * 3)
    (tree / "empty").write_text("")
    (tree / "below" / "chunk").write_text(noise.randbytes(450).hex())
    (tree / "below" / "chunks").write_text(noise.randbytes(3_000).hex())
    (tree / "link").symlink_to("below/chunk")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Iterator[Golden]:
    """In memory where there is such a place, since every flip commits several times."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else str(tmp_path_factory.mktemp("bitrot"))
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield make_golden(Jvs(Path(name), bytecode))


def make_golden(jvs: Jvs) -> Golden:
    tree = jvs.where / "d"
    jvs("fs", "init", "--chunk", "256:1024:4096", "--inline", "512").ok()
    make(tree)
    jvs("fs", "push", "d", "--label", "main", "-m", "first").ok()
    trees = {"main@1": fingerprint(tree)}
    (tree / "small").write_text("changed\n")
    (tree / "below" / "more").write_text("one more\n")
    jvs("fs", "push", "d", "-m", "second", "--tag", "v2").ok()
    trees["main@2"] = fingerprint(tree)
    jvs("fs", "label", "side/one", "main@1", "-m", "a side").ok()
    jvs("fs", "label", "gone", "main").ok()
    jvs("fs", "label", "--delete", "gone").ok()
    kept = jvs.where / "kept"
    shutil.copytree(jvs.where / ".jvs", kept)
    labels = jvs.json("fs", "ls")
    logs = {label: jvs.json("fs", "log", label) for label in ("main", "side/one")}
    files = {
        f"{revision}:{path}": jvs("fs", "cat", f"{revision}:{path}").ok().out
        for revision, entries in trees.items()
        for path, entry in entries.items()
        if entry[0] == "file"
    }
    (tree / "small").write_text("changed again\n")
    (tree / "new").write_text("never pushed\n")
    pushed = jvs.json("fs", "push", "d")["ca_id"]
    return Golden(jvs, kept, labels, logs, files, trees, pushed)


class Meeting:
    """A store that is damaged somewhere, met by commands. Notes which of them said so; fails where they believed it."""

    def __init__(self, golden: Golden, run: Jvs | Session, file: str) -> None:
        self.golden = golden
        self.run = run
        self.met: set[str] = set()
        self.moved = False
        self.codes = DAMAGE | NO_STORE if file == "format_version" else DAMAGE
        self.derived = file.startswith("cache/")

    def went(self, *words: str | Path) -> Done | None:
        """What a command came to, None when it found the damage."""
        done = self.run(*words, "--json")
        if done.status == 0 or (done.status == 2 and self.derived and "push" in words):
            return done
        error = done.value["error"]
        assert error["code"] in self.codes, (words, done.out)
        assert done.status == 8 or error["code"] in NO_STORE, (words, done.out)
        self.met.add(error["code"])
        return None

    def look(self) -> None:
        """Labels, histories and files: what they were, or damage."""
        if (done := self.went("fs", "ls")) is not None:
            labels = {label["name"]: label for label in done.value["labels"]}
            wanted = {label["name"]: label for label in self.golden.labels["labels"]}
            if self.moved:
                assert labels.pop("main")["ca_id"] == self.golden.pushed
                del wanted["main"]
            assert labels == wanted
        for name, log in self.golden.logs.items():
            if (done := self.went("fs", "log", name)) is not None:
                entries = done.value["log"]
                if self.moved and name == "main":
                    assert entries.pop()["to"] == self.golden.pushed
                assert entries == log["log"]
        for place, content in self.golden.files.items():
            raw = self.run("fs", "cat", place)
            assert content.startswith(raw.out), place
            assert raw.status or raw.out == content, place
            if raw.status:
                self.went("fs", "cat", place)

    def pull(self) -> None:
        """Into nothing: all of it or an error, and never a byte that was not there."""
        into = self.golden.jvs.where / "into"
        for revision, tree in self.golden.trees.items():
            shutil.rmtree(into, ignore_errors=True)
            done = self.went("fs", "pull", revision, into)
            there = fingerprint(into)
            if done is not None:
                assert there == tree
            else:
                assert there.items() <= tree.items()

    def push(self) -> None:
        """A changed directory: the right snapshot, or an error; with a damaged binding the label must be named."""
        done = self.went("fs", "push", "d")
        if done is None:
            return
        value = done.value
        if done.status == 2:
            assert self.derived, done.out
            return
        assert (value["status"], value["ca_id"], value["generation"]) == ("advanced", self.golden.pushed, 3)
        self.moved = True

    def verify(self) -> bool:
        """Whether verification finds nothing."""
        done = self.run("fs", "verify", "--all", "--json")
        if done.status == 0:
            return True
        assert done.value["error"]["code"] in self.codes, done.out
        return False


def meet(golden: Golden, run: Jvs | Session, file: str) -> str:
    """Run the whole set; `found`, or `unused` when neither a command nor verification minds."""
    meeting = Meeting(golden, run, file)
    meeting.look()
    meeting.pull()
    meeting.push()
    sound = meeting.verify()
    before = set(meeting.met)
    meeting.look()
    if sound:
        assert not before, f"{before}, but verification finds nothing"
        assert not meeting.met, f"{meeting.met} after a verification that found nothing"
        return "unused"
    return "found"


def damage(golden: Golden, file: str, bit: int, *, rot: bool) -> None:
    """Flip one bit of a fresh copy. rot: the file's times say nothing of it, as when a disk fails."""
    store = golden.restore()
    flip(store, file, bit)
    if rot and file != "index/users":
        (store / "index" / "users").write_bytes(env._clean_note(str(store / "index")).encode())


def bits_of(kept: Path) -> list[tuple[str, int]]:
    """Every bit but those of slots of `committed` far from any in use (some); a sample spread over all files."""
    sizes = {
        str(path.relative_to(kept)): path.stat().st_size
        for path in sorted(kept.rglob("*"))
        if path.is_file() and path.name not in ("lock.mdb", "reserve")  # nothing is kept in these
    }
    if TORTURE:
        used = 8 * 16 * 40
        return [
            (name, bit)
            for name, size in sizes.items()
            for bit in range(8 * size)
            if name != "committed" or bit < used or bit >= 8 * (size - 16) or bit % 61 == 0
        ]
    chance = random.Random(17)
    names = [name for name, size in sizes.items() if size]
    names += ["index/data.mdb"] * len(names) + [name for name in names if name.endswith(".pack")] * 3
    return [(name, chance.randrange(8 * sizes[name])) for name in chance.choices(names, k=SAMPLE)]


@pytest.mark.timeout(200_000)
def test_every_bit(golden: Golden) -> None:
    """No command returns wrong bytes, moves or loses a label, or dies; what one meets verification finds too."""
    results: Counter[tuple[str, str]] = Counter()
    wrong = []
    chance = random.Random(23)
    with Session(golden.jvs) as session:
        for file, bit in bits_of(golden.kept):
            rot = chance.random() < 0.5
            damage(golden, file, bit, rot=rot)
            try:
                result = meet(golden, session, file)
            except Died as died:
                # This process examined the index itself; a command has a child do that, and must not die. Where the
                # index was not examined, the next one does, since that one did not end cleanly.
                if died.status not in DEADLY:
                    raise
                if not rot:
                    damage(golden, file, bit, rot=False)
                result = refused(golden, file, bit)
            except AssertionError as error:
                wrong.append(f"{file} {bit} rot={rot}: {error}")
                continue
            results[Path(file).suffix or file, result] += 1
    print(*sorted(results.items()), sep="\n")
    assert wrong == []
    assert sum(count for (_, result), count in results.items() if result == "found") > SAMPLE // 4


def refused(golden: Golden, file: str, bit: int) -> str:
    """A command, being a process of its own, says what is the matter and lives."""
    done = golden.jvs("fs", "ls", "--json")
    assert (done.status, done.value["error"]["code"]) == (8, "index-damaged"), (file, bit, done)
    return "found"


def test_some_bits_through_processes(golden: Golden) -> None:
    """As above, with a real process for each command."""
    bits = bits_of(golden.kept)
    chance = random.Random(1)
    chance.shuffle(bits)
    some = [next(item for item in bits if item[0].endswith(end)) for end in (".pack", "data.mdb")]
    for file, bit in some + bits[:100] if TORTURE else some:
        damage(golden, file, bit, rot=False)
        meet(golden, golden.jvs, file)


# -- an index that is cut off, or gone ---------------------------------------------------------------------------------


COMMANDS = [
    ("fs", "ls"),
    ("fs", "cat", "main:below/chunks"),
    ("fs", "push", "d"),
    ("fs", "verify", "--all"),
    ("doctor",),
]


def lengths_of(size: int) -> list[int]:
    """Around every page, and some anywhere."""
    chance = random.Random(31)
    pages = [length for page in range(0, size, 4_096) for length in (page - 1, page, page + 1) if 0 <= length < size]
    anywhere = [chance.randrange(size) for _ in range(40)]
    return sorted({*pages, *anywhere}) if TORTURE else sorted({0, *chance.sample(pages, 4), *anywhere[:2]})


@pytest.mark.timeout(3_600)
def test_a_truncated_index_kills_nobody(golden: Golden) -> None:
    """Every command says that the index is damaged, however much of it is left, also when its times say nothing."""
    size = (golden.kept / "index" / "data.mdb").stat().st_size
    refusals = 0
    with Session(golden.jvs) as session:
        for length, rot in itertools.product(lengths_of(size), (False, True)):
            if not TORTURE and rot == bool(length % 2):
                continue
            truncate(golden, length, rot=rot)
            if golden.jvs("fs", "ls", "--json").status == 0:  # only pages that nothing uses are gone
                truncate(golden, length, rot=rot)
                assert meet(golden, session, "index/data.mdb") == "unused"
                continue
            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(lambda words: golden.jvs(*words, "--json"), COMMANDS))
            assert [done.status for done in answers] == [8] * len(COMMANDS), (length, rot, answers)
            refusals += 1
    assert refusals > 3


def truncate(golden: Golden, length: int, *, rot: bool) -> None:
    """Cut the index of a fresh copy off. rot: what was noted at the end of its last use says that it is as it was."""
    store = golden.restore()
    os.truncate(store / "index" / "data.mdb", length)
    if rot:
        (store / "index" / "users").write_bytes(env._clean_note(str(store / "index")).encode())


@pytest.mark.parametrize("left", ["no file", "no directory", "truncated", "garbage", "swapped"])
def test_the_index_is_made_again(golden: Golden, left: str) -> None:
    """`doctor --rebuild-index` gives back labels, histories and every byte; until then nothing is believed."""
    store = golden.restore()
    data = store / "index" / "data.mdb"
    if left == "no file":
        data.unlink()
    elif left == "no directory":
        shutil.rmtree(store / "index")
    elif left == "truncated":
        os.truncate(data, 5_000)
    elif left == "garbage":
        data.write_bytes(random.Random(1).randbytes(data.stat().st_size))
    else:
        data.write_bytes(empty_index(golden.jvs))
    refused = golden.jvs("fs", "ls", "--json")
    assert refused.status == 8, refused
    assert "doctor" in refused.value["error"]["next"]
    assert golden.jvs("fs", "push", "d").status == 8
    mended = golden.jvs("doctor", "--rebuild-index", "--json")
    assert mended.status == 0, mended.out
    with Session(golden.jvs) as session:
        assert session.json("fs", "verify", "--all")["ok"]
        assert session.json("doctor")["healthy"]
        assert meet(golden, session, "journal") == "unused"
        assert session.json("fs", "label", "--undelete", "gone")["ca_id"] == golden.logs["main"]["log"][1]["to"]
        assert session.json("fs", "pull", "tag:v2")["generation"] == 2


def empty_index(jvs: Jvs) -> bytes:
    """That of a store without anything in it."""
    jvs("fs", "init", "other").ok()
    data = (jvs.where / "other" / "index" / "data.mdb").read_bytes()
    shutil.rmtree(jvs.where / "other")
    return data


def test_labels_come_from_the_journal_alone(golden: Golden) -> None:
    """Without index and packs the rebuilt index has every label and history, and says that the content is lost."""
    store = golden.restore()
    shutil.rmtree(store / "index")
    shutil.rmtree(store / "packs")
    (store / "packs").mkdir()
    (store / "committed").unlink()
    mended = golden.jvs("doctor", "--rebuild-index", "--json")
    assert mended.status == 8, mended.out
    assert "not whole" in mended.out
    with Session(golden.jvs) as session:
        assert session.json("fs", "ls") == golden.labels
        for name, log in golden.logs.items():
            assert session.json("fs", "log", name) == log
            check_chain(log["log"])
        assert session("fs", "cat", "main:small", "--json").value["error"]["code"] in ("object-missing", "damaged")
        assert session("fs", "pull", "main", "into-lost").status == 8
        lost = session("fs", "verify", "--all", "--json")
        assert lost.status == 8
        assert [item["path"] for item in lost.value["damaged"]] == ["main:", "main:"]  # both generations
        examined = session("doctor", "--json")
        assert (examined.status, examined.value["healthy"]) == (8, False)
