"""Merging as anyone meets it: `fs merge`, `fs resolve`, `fs recorded`, their JSON, exit statuses and next steps."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.conftest import Done, Jvs
from tests.blackbox.session import Session
from tests.blackbox.test_bad_input import refused
from tests.blackbox.test_fs_contract import documented, is_id, undocumented

LINES = "".join(f"line {number}\n" for number in range(30))
CONFLICTS = ".jvs-conflicts.json"

Files = Mapping[str, str | bytes | None]


def changed(text: str, **lines: str) -> str:
    """`text` with some lines written anew: `_3="three"`."""
    out = text.splitlines()
    for number, new in lines.items():
        out[int(number[1:])] = new
    return "\n".join(out) + "\n"


def write(directory: Path, files: Files) -> None:
    """Make files; None removes one."""
    for name, content in files.items():
        path = directory / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below, by its path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


class Branches:
    """Labels of one test in a store that others use too, each with a directory that follows it."""

    def __init__(self, run: Session | Jvs, name: str) -> None:
        self.run = run
        self.name = name
        self.where = run.where / name
        self.where.mkdir()
        self.main, self.exp = self.label("main"), self.label("exp")

    def label(self, branch: str) -> str:
        return f"{self.name}/{branch}"

    def start(self, files: Files, *branches: str) -> None:
        """Push `files` as the base of all branches (main and exp)."""
        directory = self.where / "start"
        directory.mkdir()
        write(directory, files)
        self.run("fs", "push", directory, "--label", self.main).ok()
        for branch in branches or ("exp",):
            self.run("fs", "label", self.label(branch), self.main).ok()

    def edit(self, branch: str, files: Files) -> Any:
        """Push changes of the head of a branch; the value of the push."""
        directory = self.where / branch
        self.run("fs", "pull", self.label(branch), directory).ok()
        write(directory, files)
        return self.run.json("fs", "push", directory)

    def fork(self, base: Files, ours: Files, theirs: Files) -> None:
        """Two branches, main and exp, that changed a base."""
        self.start(base)
        self.edit("main", ours)
        self.edit("exp", theirs)

    def merge(self, *options: str | Path) -> Done:
        """Merge exp into main (that is, what comes of it)."""
        return self.run("fs", "merge", self.main, self.exp, *options)

    def value(self, *options: str | Path, status: int = 0) -> Any:
        done = self.merge(*options, "--json")
        assert done.status == status, done
        return done.value

    def head(self, branch: str = "main") -> Any:
        """The newest entry of a branch."""
        return self.run.json("fs", "log", self.label(branch))["log"][-1]

    def cat(self, path: str, revision: str | None = None) -> str:
        return self.run("fs", "cat", f"{revision or self.main}:{path}").ok().out

    def next(self, done: Done, **words: str) -> Done:
        """Do what the error says, as it says it; words: what stands for the names in capitals."""
        step = done.err.splitlines()[-1]
        assert step.startswith("next: jvs "), done
        command = shlex.split(step.removeprefix("next: jvs ").split(" (")[0].split(", or ")[0])
        return self.run(*(words.get(word, word) for word in command))


@pytest.fixture(scope="module")
def session(bytecode: Path) -> Iterator[Session]:
    """A store for all tests that do not mind the others."""
    with started(bytecode) as run:
        yield run


@contextmanager
def started(bytecode: Path) -> Iterator[Session]:
    """A session in a new store; in memory where there is such a place, since most commands commit."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as where,
        Session(Jvs(Path(where), bytecode)) as run,
    ):
        run("fs", "init").ok()
        yield run


_names = iter(range(1_000_000))


@pytest.fixture
def at(session: Session) -> Branches:
    """Labels of a test's own; what other tests settled is forgotten."""
    shutil.rmtree(session.where / ".jvs" / "recorded", ignore_errors=True)
    return Branches(session, f"t{next(_names)}")


@pytest.fixture
def clash(at: Branches) -> Branches:
    """Both sides changed one line of `f`, and other things that go together."""
    at.fork(
        {"f": LINES, "g": LINES, "same": "same\n"},
        {"f": changed(LINES, _3="ours", _20="twenty"), "g": changed(LINES, _1="one"), "new/ours": "1\n"},
        {"f": changed(LINES, _3="theirs"), "g": changed(LINES, _9="nine"), "new/theirs": "2\n"},
    )
    return at


# -- clean


def test_a_clean_merge(at: Branches) -> None:
    at.fork({"f": LINES, "same": "x"}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine"), "new": "n"})
    before = at.head(), at.head("exp")
    value = at.value("--into", at.main, "-m", "both")
    assert undocumented(value, documented("fs", "merge")) == []
    assert (value["status"], value["label"], value["generation"]) == ("merged", at.main, 3)
    assert (value["fast_forward"], value["conflicts"], value["bases"], value["attempts"]) == (False, [], 1, 1)
    assert is_id(value["ca_id"])
    head = at.head()
    assert (head["entry_id"], head["to"], head["op"], head["message"]) == (
        value["entry_id"],
        value["ca_id"],
        "merge",
        "both",
    )
    assert head["parents"] == [entry["entry_id"] for entry in before]
    assert at.cat("f") == changed(LINES, _1="one", _9="nine")
    assert at.cat("new") == "n"
    assert at.head("exp") == before[1]


def test_without_into_nothing_moves(at: Branches) -> None:
    at.fork({"f": LINES}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine")})
    before = at.head()
    done = at.merge().ok()
    assert "merged" in done.out
    assert "kept for 24 hours" in done.err
    assert at.head() == before
    ca_id = at.merge("-q").ok().out.strip()
    assert is_id(ca_id)
    assert at.cat("f", ca_id) == changed(LINES, _1="one", _9="nine")
    assert any(group["reason"] == "detached" for group in at.run.json("fs", "gc", "plan")["protected"])
    # what is kept for a day knows where it came from
    at.run("fs", "label", at.label("kept"), ca_id).ok()
    forward = at.run.json("fs", "merge", at.main, ca_id)
    assert (forward["status"], forward["ca_id"]) == ("merged", ca_id)


def test_swapping_the_sides_gives_the_same_id(at: Branches) -> None:
    at.fork(
        {"f": LINES, "g": "g"}, {"f": changed(LINES, _1="one"), "h/i": "i"}, {"f": changed(LINES, _9="9"), "g": None}
    )
    assert at.value()["ca_id"] == at.run.json("fs", "merge", at.exp, at.main)["ca_id"]


def test_a_dry_run_stores_nothing(clash: Branches) -> None:
    packs = clash.run.where / ".jvs" / "packs"
    before = contents(packs), clash.head()
    value = clash.value("--into", clash.main, "--prefer", "ours", "--dry-run")
    assert (value["status"], value["dry_run"], value["label"]) == ("merged", True, None)
    assert clash.merge("--dry-run").status == 7
    assert (contents(packs), clash.head()) == before
    assert clash.run("fs", "cat", f"{value['ca_id']}:f").status == 5


def test_into_a_new_label_has_both_parents(at: Branches) -> None:
    at.fork({"f": LINES}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine")})
    value = at.value("--into", at.label("best"))
    assert (value["label"], value["generation"]) == (at.label("best"), 1)
    assert at.head("best")["parents"] == [at.head()["entry_id"], at.head("exp")["entry_id"]]


def test_one_side_has_the_other(at: Branches) -> None:
    at.start({"f": LINES})
    newer = at.edit("exp", {"f": changed(LINES, _1="one")})["ca_id"]
    for sides in ((at.main, at.exp), (at.exp, at.main)):
        value = at.run.json("fs", "merge", *sides)
        assert (value["status"], value["fast_forward"], value["ca_id"]) == ("merged", True, newer)
    kept = at.run.json("fs", "merge", at.exp, at.main, "--into", at.exp)
    assert (kept["fast_forward"], kept["generation"]) == (True, at.head("exp")["generation"])
    told = at.value("--into", at.main, "--explain")
    assert (told["fast_forward"], told["ca_id"], told["label"]) == (True, newer, at.main)
    assert {"path": "f", "rule": "pruned", "detail": "theirs", "below": False} in told["decisions"]
    assert at.head()["to"] == newer


# -- conflicts


def test_a_conflict_is_data(clash: Branches) -> None:
    before = clash.head()
    value = clash.value("--into", clash.main, status=7)
    assert undocumented(value, documented("fs", "merge") | {"error": ""}) == []
    assert (value["status"], value["ca_id"], value["label"]) == ("conflict", None, None)
    assert value["error"]["code"] == "merge-conflict"
    [conflict] = value["conflicts"]
    assert value["total_conflicts"] == 1
    assert (conflict["path"], conflict["kind"], conflict["markers"]) == ("f", "content", True)
    for side in ("base", "ours", "theirs"):
        assert is_id(conflict[side]["digest"])
        text = clash.run("fs", "cat", conflict[side]["rev"]).ok().out
        assert len(text) == conflict[side]["size"]
        assert {"base": "line 3\n", "ours": "ours\n", "theirs": "theirs\n"}[side] in text
    assert conflict["diff_ours"] == "@@ -1 +1 @@\n-line 3\n+ours\n"
    assert conflict["diff_theirs"] == "@@ -1 +1 @@\n-line 3\n+theirs\n"
    assert conflict["regions"][0]["where"] == "line 4"
    assert clash.head() == before
    people = clash.merge("--into", clash.main)
    assert "conflict    f (content: line 4)" in people.out
    assert clash.merge("-q").out == ""


def test_a_suggestion_is_offered_and_not_applied(at: Branches) -> None:
    at.fork({"f": "rate = 1, depth = 2\n"}, {"f": "rate = 9, depth = 2\n"}, {"f": "rate = 1, depth = 7\n"})
    [conflict] = at.value(status=7)["conflicts"]
    assert conflict["suggestion"] == "rate = 9, depth = 7\n"
    at.value("--out", at.where / "m", status=7)
    assert conflict["suggestion"].strip() not in (at.where / "m" / "f").read_text()
    assert "[-" in at.run("fs", "diff", at.label("main") + "@{1}", at.main, "--word").ok().out


def test_settled_by_hand(clash: Branches) -> None:
    place = clash.where / "m"
    sides = clash.head()["entry_id"], clash.head("exp")["entry_id"]
    done = clash.merge("--into", clash.main, "--out", place)
    assert done.status == 7
    assert done.err.splitlines()[-1] == f"next: edit the files in {place}, then: jvs fs resolve {place}"
    text = (place / "f").read_text()
    assert f"<<<<<<< {clash.main}\nours\n=======\ntheirs\n>>>>>>> {clash.exp}\n" in text
    assert "twenty" in text
    assert (place / "g").read_text() == changed(LINES, _1="one", _9="nine")
    told = json.loads((place / CONFLICTS).read_text())
    assert (told["into"], told["ours"]["entries"], told["theirs"]["entries"]) == (clash.main, [sides[0]], [sides[1]])
    assert told["base"] == clash.value(status=7)["base"]
    for _ in range(2):
        done = clash.run("fs", "resolve", place)
        assert done.status == 7
        assert "conflict markers are left in f" in done.err
    write(place, {"f": changed(LINES, _3="both", _20="twenty")})
    value = clash.run.json("fs", "resolve", place)
    assert undocumented(value, documented("fs", "resolve")) == []
    assert (value["status"], value["label"]) == ("advanced", clash.main)
    head = clash.head()
    assert (head["op"], head["parents"]) == ("merge", list(sides))
    assert clash.cat("f") == changed(LINES, _3="both", _20="twenty")
    assert not (place / CONFLICTS).exists()
    refused(clash.run, "fs", "resolve", place, status=1, code="no-merge", says="stands in no merge", step="--out DIR")
    assert clash.merge("--into", clash.main).ok().out.startswith("merged (fast forward)")


def test_the_list_of_conflicts_is_never_content(clash: Branches) -> None:
    place = clash.where / "m"
    clash.value("--out", place, status=7)
    write(place, {"sub/" + CONFLICTS: "{}"})
    before = (place / CONFLICTS).read_bytes()
    clash.run("fs", "push", place, "--label", clash.label("other")).ok()
    tree = clash.run("fs", "tree", clash.label("other")).ok().out
    assert "sub" in tree
    assert CONFLICTS not in tree
    assert CONFLICTS not in clash.run("fs", "diff", clash.label("other"), place).ok().out
    clash.run("fs", "pull", clash.main, place).ok()
    assert (place / CONFLICTS).read_bytes() == before
    assert (place / "sub" / CONFLICTS).exists()


def test_a_pulled_directory_is_no_merge(clash: Branches) -> None:
    """Whoever gives a merge up by pulling must not have what was pulled taken for the merge."""
    place = clash.where / "m"
    clash.value("--into", clash.main, "--out", place, status=7)
    clash.run("fs", "pull", clash.main, place).ok()
    before = clash.head()
    refused(clash.run, "fs", "resolve", place, status=1, code="no-merge", says="pulled or pushed", step="rm ")
    assert clash.head() == before


def test_markers_may_stay_when_forced(clash: Branches) -> None:
    clash.value("--into", clash.main, "--out", clash.where / "m", status=7)
    value = clash.run.json("fs", "resolve", clash.where / "m", "--force", "-m", "as it is")
    assert (value["status"], value["recorded"], clash.head()["message"]) == ("advanced", [], "as it is")
    assert "<<<<<<<" in clash.cat("f")


def test_texts_that_hold_markers(at: Branches) -> None:
    """Those of the merge are longer, and only they count as left."""
    text = "<<<<<<< a lesson\n=======\n>>>>>>> about merging\n"
    at.fork({"f": text + LINES}, {"f": text + changed(LINES, _3="a")}, {"f": text + changed(LINES, _3="b")})
    place = at.where / "m"
    at.value("--into", at.main, "--style", "diff3", "--out", place, status=7)
    written = (place / "f").read_text()
    assert f"<<<<<<<< {at.main}\na\n|||||||| base\nline 3\n========\nb\n>>>>>>>> {at.exp}\n" in written
    assert at.run("fs", "resolve", place).status == 7
    write(place, {"f": text + changed(LINES, _3="c")})
    at.run("fs", "resolve", place).ok()


def test_a_merge_of_no_label(clash: Branches) -> None:
    place = clash.where / "m"
    ours = clash.head()["to"]
    done = clash.run("fs", "merge", ours, clash.exp, "--out", place)
    assert done.status == 7
    write(place, {"f": "settled"})
    refused(
        clash.run, "fs", "resolve", place, status=2, code="usage", says="no label", step=f"resolve {place} --label"
    )  # fmt: skip
    assert clash.next(clash.run("fs", "resolve", place), LABEL=clash.main).ok()
    assert clash.head()["to"] != ours


def test_a_message_too_long(at: Branches) -> None:
    at.fork({"f": LINES}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine")})
    before = at.head()
    assert at.merge("--into", at.main, "-m", "x" * 5_000).status == 2
    assert at.head() == before


def test_another_label(clash: Branches) -> None:
    ours, theirs, place = clash.head()["entry_id"], clash.head("exp")["entry_id"], clash.where / "m"
    clash.value("--out", place, status=7)
    write(place, {"f": LINES})
    new = clash.label("new")
    value = clash.run.json("fs", "resolve", place, "--label", new)
    assert (value["label"], value["generation"]) == (new, 1)
    assert clash.head("new")["parents"] == [ours, theirs]


def test_sides_are_taken(at: Branches) -> None:
    at.fork(
        {"f": LINES, "bin": b"\0base", "gone": LINES, "kept": LINES, "sub/x": LINES},
        {
            "f": changed(LINES, _3="a"),
            "bin": b"\0ours",
            "gone": None,
            "kept": changed(LINES, _2="k"),
            "sub/x": "ours",
        },
        {"f": changed(LINES, _3="b"), "bin": b"\0theirs", "gone": changed(LINES, _2="g"), "kept": None, "sub/x": "t\n"},
    )
    value = at.value("--into", at.main, "--out", at.where / "m", status=7)
    kinds = {one["path"]: one["kind"] for one in value["conflicts"]}
    assert kinds == {
        "bin": "binary", "f": "content", "gone": "modify/delete", "kept": "modify/delete", "sub/x": "content",
    }  # fmt: skip
    place = at.where / "m"
    both = at.run("fs", "resolve", place, "--json")
    assert both.value["error"]["message"] == "conflict markers are left in 2 files"
    assert [one["path"] for one in both.value["error"]["details"]["paths"]] == ["f", "sub/x"]
    assert at.run("fs", "resolve", place, "--take", "theirs", "bin", "f", "kept").status == 7  # sub/x
    assert (place / "bin").read_bytes() == b"\0theirs"
    assert not (place / "kept").exists()
    done = at.run("fs", "resolve", place, "--take", "ours", "sub/x", "gone").ok()
    assert "took        gone" in done.out
    assert at.cat("f") == changed(LINES, _3="b")
    assert at.cat("sub/x") == "ours"
    assert sorted(contents(place)) == ["bin", "f", "sub/x"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--take", "ours"), "goes with"),
        (("f",), "goes with"),
        (("--take", "base", "f"), "not base"),
        (("--take", "ours", "g"), "in no conflict"),
        (("--take", "ours", "../f"), ".."),
        (("--label", "-x"), "-x"),
    ],
)
def test_resolve_refuses(clash: Branches, words: tuple[str, ...], says: str) -> None:
    place = clash.where / "m"
    clash.value("--into", clash.main, "--out", place, status=7)
    done = clash.run("fs", "resolve", place, *words)
    assert (done.status, done.out) == (2, "")
    assert says in done.err.splitlines()[0]
    assert "<<<<<<<" in (place / "f").read_text()


@pytest.mark.parametrize("prefer", ["ours", "theirs"])
def test_a_preferred_side(at: Branches, prefer: str) -> None:
    ours = {"f": changed(LINES, _3="ours", _20="twenty"), "bin": b"\0ours", "gone": None, "mod": changed(LINES, _1="x")}
    theirs = {"f": changed(LINES, _3="theirs", _9="9"), "bin": b"\0theirs", "gone": changed(LINES, _1="x"), "mod": None}
    at.fork({"f": LINES, "bin": b"\0", "gone": LINES, "mod": LINES}, ours, theirs)
    value = at.value("--into", at.main, "--prefer", prefer)
    assert (value["status"], value["conflicts"]) == ("merged", [])
    settled = {(one["path"], one["kind"]) for one in value["settled"]}
    assert settled == {("f", "content"), ("bin", "binary"), ("gone", "modify/delete"), ("mod", "modify/delete")}
    # the clean hunks of both sides stay
    assert at.cat("f") == changed(LINES, _3=prefer, _20="twenty", _9="9")
    assert at.cat("bin") == f"\0{prefer}"
    assert at.run("fs", "cat", f"{at.main}:gone").status == (5 if prefer == "ours" else 0)
    assert at.run("fs", "cat", f"{at.main}:mod").status == (0 if prefer == "ours" else 5)


# -- labels that stand elsewhere


def test_a_label_elsewhere(at: Branches) -> None:
    at.fork({"f": LINES}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine")})
    done = at.run("fs", "merge", f"{at.main}@1", at.exp, "--into", at.main)
    assert done.status == 6
    at.next(done).ok()
    assert at.cat("f") == changed(LINES, _1="one", _9="nine")


def test_a_rejected_push_is_merged_as_it_says(at: Branches) -> None:
    """Over the entry it was made from, not in two ways: line 9 was changed on one side only."""
    at.start({"f": LINES})
    late = at.where / "late"
    at.run("fs", "pull", at.main, late).ok()
    at.edit("main", {"f": changed(LINES, _1="one")})
    write(late, {"f": changed(LINES, _9="nine")})
    rejected = at.run("fs", "push", late)
    assert rejected.status == 6
    base = at.run.json("fs", "log", at.main)["log"][0]["to"]
    at.next(rejected).ok()
    assert at.cat("f") == changed(LINES, _1="one", _9="nine")
    head = at.head()
    assert (head["op"], len(head["parents"])) == ("merge", 2)
    rejected_id = at.run.json("fs", "merge", at.main, at.exp)["base"]
    assert rejected_id == base


def test_resolved_after_the_label_moved(clash: Branches) -> None:
    place = clash.where / "m"
    clash.value("--into", clash.main, "--out", place, status=7)
    write(place, {"f": changed(LINES, _3="both", _20="twenty")})
    clash.edit("main", {"g": changed(LINES, _1="one", _25="late")})
    for _ in range(2):  # as often as one likes
        done = clash.run("fs", "resolve", place)
        assert done.status == 6
    assert "moved" in done.err
    clash.next(done).ok()
    assert clash.cat("f") == changed(LINES, _3="both", _20="twenty")
    assert clash.cat("g") == changed(LINES, _1="one", _9="nine", _25="late")
    *_, ours, late, merged = clash.run.json("fs", "log", clash.main)["log"]
    assert merged["parents"] == [late["entry_id"], ours["entry_id"], clash.head("exp")["entry_id"]]
    assert clash.value()["fast_forward"]


def test_a_place_with_unsaved_work(clash: Branches) -> None:
    place = clash.where / "m"
    place.mkdir()
    write(place, {"f": "unsaved\n"})
    refused(
        clash.run, "fs", "merge", clash.main, clash.exp, "--out", place, status=1, code="unsaved-changes", says="f",
        step="--out DIR",
    )  # fmt: skip
    assert contents(place) == {"f": b"unsaved\n"}


def test_the_next_step_of_a_conflict(clash: Branches) -> None:
    done = clash.merge("--into", clash.main)
    assert clash.next(done, DIR=str(clash.where / "m")).status == 7
    assert "<<<<<<<" in (clash.where / "m" / "f").read_text()


# -- bases


def test_a_base_of_ones_own(clash: Branches) -> None:
    value = clash.value("--base", f"{clash.main}@1", status=7)
    assert value["notes"] == []
    other = clash.value("--base", clash.label("main") + "@{0}")
    assert (other["status"], other["fast_forward"]) == ("merged", True)
    assert "is not the merge base" in other["notes"][0]
    two_way = clash.value("--two-way", status=7)
    assert (two_way["base"], two_way["bases"]) == (None, 0)
    assert {one["path"] for one in two_way["conflicts"]} == {"f", "g"}
    assert "two-way" in two_way["notes"][0]


def test_a_base_that_is_no_ancestor(at: Branches) -> None:
    at.fork({"f": LINES}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine")})
    other = at.where / "other"
    other.mkdir()
    write(other, {"f": changed(LINES, _15="fifteen")})
    at.run("fs", "push", other, "--label", at.label("other")).ok()
    value = at.value("--base", at.label("other"))
    assert "is not the merge base" in value["notes"][0]
    assert at.cat("f", value["ca_id"]) == changed(LINES, _1="one", _9="nine")  # both made 15 what it was
    unrelated = at.run("fs", "merge", at.main, at.label("other"), "--json")
    assert unrelated.status == 7
    assert "no common ancestor" in unrelated.value["notes"][0]
    assert unrelated.value["conflicts"][0]["kind"] == "add/add"


def criss_cross(at: Branches, ours: str, theirs: str) -> None:
    """Each branch merges the other's first commit, then goes on with a line of its own."""
    at.fork({"f": LINES}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine")})
    first = at.head("exp")["entry_id"]
    at.run("fs", "merge", at.exp, at.main, "--into", at.exp).ok()
    at.run("fs", "merge", at.main, first, "--into", at.main).ok()
    at.edit("main", {"f": changed(LINES, _1="one", _9="nine", _3=ours)})
    at.edit("exp", {"f": changed(LINES, _1="one", _9="nine", _20=theirs)})


def test_criss_cross(at: Branches) -> None:
    criss_cross(at, "three", "twenty")
    value = at.value("--into", at.main)
    assert value["bases"] == 2
    assert at.cat("f") == changed(LINES, _1="one", _9="nine", _3="three", _20="twenty")


def test_the_base_of_a_criss_cross_can_be_read(at: Branches) -> None:
    criss_cross(at, "three", "twenty")
    at.edit("main", {"f": changed(LINES, _1="one", _9="nine", _20="zwanzig")})
    [conflict] = at.value(status=7)["conflicts"]
    assert at.run("fs", "cat", conflict["base"]["rev"]).ok().out == changed(LINES, _1="one", _9="nine")
    assert at.value("--dry-run", status=7)["conflicts"][0]["regions"][0]["base"] == "line 20\n"
    place = at.where / "m"
    at.value("--into", at.main, "--out", place, status=7)
    write(place, {"f": changed(LINES, _1="one", _9="nine", _20="20")})
    assert len(at.run.json("fs", "resolve", place)["recorded"]) == 1


@pytest.fixture
def own(bytecode: Path) -> Iterator[Branches]:
    """Branches in a store of their own."""
    with started(bytecode) as run:
        yield Branches(run, "own")


def test_a_base_that_was_collected(own: Branches) -> None:
    """What is kept is each label's base with the one it came from. Here that one is gone."""
    own.start({"f": LINES})
    own.edit("exp", {"f": changed(LINES, _9="nine")})
    own.run("fs", "label", own.label("new"), own.exp).ok()
    own.edit("new", {"g": "g\n"})
    own.edit("main", {"f": changed(LINES, _1="one")})
    own.run("fs", "label", "--delete", own.exp).ok()
    own.run("fs", "retention", "set", "keep-last", "0", "keep-deleted", "0").ok()
    for _ in range(2):  # the deleted label first, then what only it came from
        own.run("fs", "gc", "run").ok()
    own.exp = own.label("new")
    refused(
        own.run, "fs", "merge", own.main, own.exp, status=1, code="collected", says="collected", step="--two-way"
    )  # fmt: skip
    assert "--base REV" in own.merge().err
    for words in ((own.exp, f"{own.main}@1"), (own.main, own.exp, "--base", f"{own.main}@1")):
        gone = own.run("fs", "merge", *words, "--json")
        assert (gone.status, gone.value["error"]["code"]) == (1, "collected"), gone
    refused(own.run, "fs", "merge", "--all", own.main, own.exp, status=1, code="collected", says="", step="--base REV")
    assert own.head()["generation"] == 3  # with the collector's note
    assert own.value("--two-way", status=7)["conflicts"][0]["kind"] == "add/add"
    base = own.where / "base"
    base.mkdir()
    write(base, {"f": LINES})
    again = own.run("fs", "push", base, "--detach", "-q").ok().out.strip()
    value = own.value("--base", again, "--into", own.main)
    assert value["notes"] == []  # it is the very same snapshot
    assert own.cat("f") == changed(LINES, _1="one", _9="nine")


def test_damage_is_no_conflict(own: Branches) -> None:
    """The packs lose what one side has of a file that both changed."""
    own.fork({"f": LINES}, {"f": changed(LINES, _1="one")}, {"f": changed(LINES, _9="nine")})
    for pack in (own.run.where / ".jvs" / "packs").iterdir():
        data = bytearray(pack.read_bytes())
        data[64:] = bytes(byte ^ 0x55 for byte in data[64:])
        pack.chmod(0o600)
        pack.write_bytes(data)
    before = own.head()
    done = own.merge("--into", own.main)
    assert (done.status, len(done.err.splitlines())) == (8, 2), done
    assert own.head() == before


# -- recorded resolutions


def test_a_resolution_is_used_again(clash: Branches) -> None:
    place = clash.where / "m"
    clash.value("--into", clash.main, "--out", place, status=7)
    write(place, {"f": changed(LINES, _3="both", _20="twenty")})
    [recorded] = clash.run.json("fs", "resolve", place)["recorded"]
    assert recorded["path"] == "f"
    # the label goes back, and somebody adds to another place of the file: the same conflict comes back
    clash.run("fs", "undo", clash.main).ok()
    clash.edit("exp", {"f": changed(LINES, _3="theirs", _28="late")})
    preview = clash.value("--dry-run")
    assert preview["recorded"] == [{"id": recorded["id"], "path": "f"}]
    assert clash.value("--no-recorded", status=7)["total_conflicts"] == 1
    swapped = clash.run.json("fs", "merge", clash.exp, clash.main)
    people = clash.merge("--into", clash.main, "--explain").ok().out
    assert f"recorded    f ({recorded['id'][:12]})" in people
    assert clash.cat("f") == changed(LINES, _3="both", _20="twenty", _28="late")
    assert swapped["ca_id"] == clash.head()["to"]
    listed = clash.run.json("fs", "recorded")
    assert undocumented(listed, documented("fs", "recorded")) == []
    assert recorded["id"] in [one["id"] for one in listed["recorded"]]
    shown = clash.run.json("fs", "recorded", recorded["id"][:10])
    assert "+both" in shown["patch"]
    assert recorded["id"][:12] in clash.run("fs", "recorded").ok().out
    assert clash.run.json("fs", "recorded", recorded["id"], "--forget")["forgotten"]
    refused(clash.run, "fs", "recorded", recorded["id"], status=5, code="unknown-revision", says="no", step="recorded")
    clash.run("fs", "undo", clash.main).ok()
    assert clash.value(status=7)["recorded"] == []


def test_nothing_is_recorded_when_unwanted(clash: Branches) -> None:
    place = clash.where / "m"
    clash.value("--into", clash.main, "--out", place, status=7)
    write(place, {"f": changed(LINES, _3="unwanted")})
    assert clash.run.json("fs", "resolve", place, "--no-record")["recorded"] == []
    clash.run("fs", "undo", clash.main).ok()
    clash.value(status=7)


# -- explained


def test_every_rule_is_explained(at: Branches) -> None:
    at.fork(
        {"one/a": LINES, "both": LINES, "alike": "1\n", "d.json": '{"a": 1, "b": 2}\n', "old": LINES * 2, "bad": LINES},
        {
            "one/a": "one\n", "both": changed(LINES, _1="one"), "alike": "2\n", "d.json": '{"a": 5, "b": 2}\n',
            "old": None, "moved": LINES * 2, "bad": changed(LINES, _3="ours"), "dir/deep/x": "x",
        },
        {
            "both": changed(LINES, _9="nine"), "alike": "2\n", "d.json": '{"a": 1, "b": 6}\n',
            "old": changed(LINES * 2, _7="7"), "bad": changed(LINES, _3="theirs"), "added": "y",
        },
    )  # fmt: skip
    value = at.value("--explain", status=7)
    rules = {one["path"]: one["rule"] for one in value["decisions"] if not one["below"]}
    assert rules == {
        "one/a": "pruned", "both": "line merge", "alike": "identical", "d.json": "driver", "bad": "conflict",
        "old": "rename", "moved": "rename", "dir/deep": "pruned", "dir/deep/x": "pruned", "added": "one-sided",
    }  # fmt: skip
    assert any("json: merged" in one["detail"] for one in value["decisions"])
    people = at.merge("--explain").out
    assert all(path in people for path in rules)
    assert "decisions" not in at.value(status=7)
    preferred = at.value("--explain", "--prefer", "ours")
    assert {one["path"]: one["rule"] for one in preferred["decisions"]}["bad"] == "prefer"


# -- many


def many(at: Branches) -> tuple[str, ...]:
    names = ("a", "b", "c")
    at.start({"f": LINES, "g": LINES}, *names)
    at.edit("a", {"f": changed(LINES, _1="one")})
    at.edit("b", {"f": changed(LINES, _9="nine"), "g": changed(LINES, _5="five")})
    at.edit("c", {"f": changed(LINES, _20="twenty"), "g": changed(LINES, _5="cinq")})
    return tuple(map(at.label, names))


def test_many_at_once(at: Branches) -> None:
    a, b, c = many(at)
    together = at.run.json("fs", "merge", "--all", a, b, "--into", at.main, "-m", "both")
    assert undocumented(together, documented("fs", "merge")) == []
    assert (together["status"], together["merged"], together["left"]) == ("merged", [a, b], [])
    assert at.cat("f") == changed(LINES, _1="one", _9="nine")
    assert set(at.head()["parents"]) >= {at.head("a")["entry_id"], at.head("b")["entry_id"]}
    answers = [at.run("fs", "merge", "--all", *order, "--json") for order in ((a, b, c), (c, a, b), (b, c, a))]
    assert {done.status for done in answers} == {7}
    assert len({done.out for done in answers}) == 1
    value = answers[0].value
    assert undocumented(value, documented("fs", "merge") | {"error": ""}) == []
    [found] = value["clashes"]
    assert set(found["revisions"]) == {b, c}
    assert [(one["path"], one["where"]) for one in found["conflicts"]] == [("g", ["line 6"])]
    assert (len(value["merged"]), len(value["left"])) == (2, 1)
    people = at.run("fs", "merge", "--all", a, b, c, "--into", at.label("fresh"))
    assert people.status == 7
    assert "line 6" in people.out
    assert at.next(people, DIR=str(at.where / "m")).status == 7
    assert at.run("fs", "ls", at.label("fresh")).out == ""
    elsewhere = at.run("fs", "merge", "--all", f"{at.main}@1", a, b, "--into", c)
    assert elsewhere.status == 6
    assert at.next(elsewhere).status == 7  # c does not go with b


@pytest.mark.parametrize(
    "words", [("--prefer", "ours"), ("--two-way",), ("--out", "DIR"), ("--explain",)], ids=lambda words: words[0]
)
def test_many_have_no_ours(at: Branches, words: tuple[str, ...]) -> None:
    assert at.run("fs", "merge", "--all", "a", "b", *words).status == 2


# -- bad input


@pytest.mark.parametrize(
    ("words", "status", "code", "says"),
    [
        (("MAIN", "nowhere"), 5, "unknown-label", "nowhere"),
        (("MAIN@99", "EXP"), 5, "unknown-revision", "99"),
        (("MAIN", "0123456789abcdef"), 5, "unknown-revision", "0123456789abcdef"),
        (("MAIN", "EXP:f"), 5, "unknown-path", "not a directory: f"),
        (("MAIN", "EXP", "--base", "nowhere"), 5, "unknown-label", "nowhere"),
        (("MAIN", "EXP", "--prefer", "mine"), 2, "usage", "mine"),
        (("MAIN", "EXP", "--style", "zdiff3"), 2, "usage", "zdiff3"),
        (("MAIN", "EXP", "--retries", "-1"), 2, "usage", "retries"),
        (("MAIN", "EXP", "--retries", "many"), 2, "usage", "many"),
        (("MAIN", "EXP", "--into", "../x"), 2, "bad-label-name", ".."),
        (("MAIN", "EXP", "--base", "MAIN", "--two-way"), 2, "usage", "--two-way"),
        (("MAIN", "EXP", "--dry-run", "--out", "DIR"), 2, "usage", "--out"),
        (("MAIN",), 2, "usage", "OURS and THEIRS"),
        ((), 2, "usage", "OURS THEIRS"),
        (("MAIN", "EXP", "MAIN"), 2, "usage", "--all"),
        (("MAIN", "MAIN"), 2, "usage", "twice"),
        (("--all", "MAIN"), 2, "usage", "two"),
        (("--all", "MAIN", "nowhere"), 5, "unknown-label", "nowhere"),
    ],
)
def test_bad_input(shared_clash: Branches, words: tuple[str, ...], status: int, code: str, says: str) -> None:
    at = shared_clash
    given = [word.replace("MAIN", at.main).replace("EXP", at.exp) for word in words]
    refused(at.run, "fs", "merge", *given, status=status, code=code, says=says, step="")


@pytest.fixture(scope="module")
def shared_clash(session: Session) -> Branches:
    """A conflict that is never settled."""
    at = Branches(session, "shared")
    at.fork({"f": LINES}, {"f": changed(LINES, _3="ours")}, {"f": changed(LINES, _3="theirs")})
    return at


# -- a hostile list of conflicts


def laid_out(at: Branches, place: Path) -> Any:
    at.value("--out", place, "--no-recorded", status=7)
    return json.loads((place / CONFLICTS).read_text())


BAD = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"version": 2}',
    b'{"version": 1, "ours": 7}',
    b'{"version": 1' + b" " * 100 + b', "ours": {"ca_id": "zz"}}',
]


def test_lists_that_say_nothing(shared_clash: Branches) -> None:
    at, place = shared_clash, shared_clash.where / "bad"
    told = laid_out(at, place)
    mutants: list[bytes] = list(BAD)
    changes: tuple[dict[str, Any], ...] = (
        {"ours": {"ca_id": "00", "entries": []}},
        {"theirs": {"ca_id": told["theirs"]["ca_id"], "entries": ["x"]}},
        {"into": 7},
        {"base": []},
        {"merged": None},
        {"conflicts": 5},
        {"conflicts": [told["conflicts"][0] | {"path": "../../out"}]},
        {"conflicts": [told["conflicts"][0] | {"path": "/a/../b"}]},
        {"conflicts": [told["conflicts"][0] | {"path_b64": "Li4vLi4vb3V0"}]},
        {"conflicts": [told["conflicts"][0] | {"placed": [{"path": ".jvs/index"}]}]},
        {"conflicts": [told["conflicts"][0] | {"theirs": {"path": "a\0b"}}]},
        {"conflicts": [told["conflicts"][0] | {"marker_size": -1}]},
        {"conflicts": [told["conflicts"][0] | {"marker_size": 1 << 70}]},
        {"conflicts": [told["conflicts"][0] | {"path": "\ud800"}]},
    )
    mutants += [json.dumps(told | change).encode() for change in changes]
    before = at.head()
    for mutant in mutants:
        (place / CONFLICTS).write_bytes(mutant)
        for words in ((), ("--force", "--take", "ours", "f")):
            done = at.run("fs", "resolve", place, *words)
            assert done.status == 2, (mutant[:200], done)
            assert done.err.startswith("error: ")
            assert "not what fs merge wrote" in done.err
            assert len(done.err.splitlines()) == 2
            assert len(done.err) < 1000
    assert at.head() == before


def test_no_list_but_something_else(shared_clash: Branches) -> None:
    at, place = shared_clash, shared_clash.where / "else"
    laid_out(at, place)
    listed = place / CONFLICTS
    text = listed.read_bytes()
    listed.unlink()
    kinds: tuple[Callable[[], None], ...] = (
        lambda: listed.mkdir(),
        lambda: listed.symlink_to("f"),
        lambda: os.mkfifo(listed),
    )
    for make in kinds:
        make()
        done = at.run("fs", "resolve", place)
        assert (done.status, len(done.err.splitlines())) == (1, 2), done
        listed.rmdir() if listed.is_dir() else listed.unlink()
    with listed.open("wb") as file:
        file.truncate(1 << 40)
    done = at.run("fs", "resolve", place)
    assert done.status == 2
    assert "larger than" in done.err
    listed.write_bytes(text)
    assert at.run("fs", "resolve", at.where / "nowhere").status == 2
    assert at.run("fs", "resolve", listed).status == 2


def test_nothing_is_written_outside(at: Branches) -> None:
    """Whatever became of the directories of a conflict meanwhile."""
    at.fork({"sub/f": LINES}, {"sub/f": changed(LINES, _3="ours")}, {"sub/f": changed(LINES, _3="theirs")})
    place, outside = at.where / "m", at.where / "outside"
    at.value("--into", at.main, "--out", place, status=7)
    outside.mkdir()
    write(outside, {"f": "<<<<<<< not yours\n"})
    shutil.rmtree(place / "sub")
    (place / "sub").symlink_to(outside)
    before = contents(outside)
    done = at.run("fs", "resolve", place, "--take", "theirs", "sub/f")
    assert (done.status, len(done.err.splitlines())) == (1, 2), done
    assert contents(outside) == before
    (place / "sub").unlink()
    (place / "sub").mkdir()
    (place / "sub" / "f").symlink_to(outside / "f")
    at.run("fs", "resolve", place, "--take", "theirs", "sub/f").ok()
    assert contents(outside) == before
    assert at.cat("sub/f") == changed(LINES, _3="theirs")


def test_ids_the_store_has_not(shared_clash: Branches) -> None:
    at, place = shared_clash, shared_clash.where / "unknown"
    told = laid_out(at, place)
    nowhere = "ab" * 32
    told["theirs"] = {"revision": "x", "ca_id": nowhere, "entries": [nowhere]}
    (place / CONFLICTS).write_text(json.dumps(told))
    done = at.run("fs", "resolve", place, "--take", "theirs", "f")
    assert done.status == 1
    assert "not in the store" in done.err
    assert "<<<<<<<" in (place / "f").read_text()
