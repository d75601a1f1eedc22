"""`jvs snapshot` and `jvs save`: what is saved, what is said of it, and when it is refused."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest

from tests.blackbox.session import Session
from tests.blackbox.workspace.conftest import Repository

ID = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")
DIGEST = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def tree(repository: Repository, revision: str = "main") -> dict[str, str]:
    """Path -> digest of every file of a snapshot."""
    entries = repository.json("fs", "tree", revision)["entries"]
    return {entry["path"]: entry["digest"] for entry in entries if entry["kind"] == "file"}


def test_a_snapshot_says_its_id(repository: Repository) -> None:
    repository.write("f", "x")
    done = repository("snapshot", "one").ok()
    found = re.search(r"Created snapshot (\S+)$", done.out, re.MULTILINE)
    assert found is not None
    assert ID.fullmatch(found[1])
    assert (
        repository("snapshot", "-q", "two").ok().out.strip() == repository("history", "-q", "-n", "1").ok().out.strip()
    )


def test_the_json_of_a_snapshot(repository: Repository) -> None:
    repository.write("f", "x")
    one = repository.json("snapshot", "one", "--tag", "v1", "--tag", "best")
    assert (
        list(one)
        == (
            "snapshot_id worktree_name created_at note tags engine "
            "payload_root_hash descriptor_checksum integrity_state"
        ).split()
    )
    assert ID.fullmatch(one["snapshot_id"])
    assert TIME.fullmatch(one["created_at"])
    assert DIGEST.fullmatch(one["payload_root_hash"])
    assert DIGEST.fullmatch(one["descriptor_checksum"])
    assert (one["worktree_name"], one["note"], one["tags"]) == ("main", "one", ["v1", "best"])
    assert one["engine"] in ("juicefs-clone", "reflink-copy", "copy")
    assert one["integrity_state"] == "verified"
    two = repository.json("snapshot")
    assert two["parent_id"] == one["snapshot_id"]
    assert "note" not in two
    assert "tags" not in two


def test_a_snapshot_is_made_also_when_nothing_changed(repository: Repository) -> None:
    repository.write("f", "x")
    ids = [repository.save("the same") for _ in range(3)]
    assert len(set(ids)) == 3
    assert [one["snapshot_id"] for one in repository.json("history")] == ids[::-1]
    assert len({one["payload_root_hash"] for one in repository.json("history")}) == 1
    assert repository.save() not in ids
    assert repository.json("info")["total_snapshots"] == 4


def test_ids_sort_by_time_and_differ_early(repository: Repository) -> None:
    ids = [repository.save(str(number)) for number in range(12)]
    assert ids == sorted(ids)
    assert len({one[:12] for one in ids}) == len(ids)


def test_save_is_the_same(repository: Repository) -> None:
    repository.write("f", "x")
    assert repository.json("save", "-m", "as it came")["note"] == "as it came"
    assert "Created snapshot" in repository("save", "-m", "again").ok().out


def test_a_note_from_stdin_and_from_a_file(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes("première\nzweite\n".encode())
    done = repository("snapshot", "-", "--json", stdin="über\n".encode()).ok()
    assert done.value["note"] == "über"
    for words in (["-F", str(tmp_path / "note")], ["--file", str(tmp_path / "note")]):
        assert repository.json("snapshot", *words)["note"] == "première\nzweite"
    assert repository("snapshot", "-F", "-", "--json", stdin=b"x").ok().value["note"] == "x"
    assert repository("snapshot", "-F", str(tmp_path / "nothing")).status == 1
    assert repository("snapshot", "a", "-m", "b").status == 2
    assert repository("snapshot", "-", stdin=b"\xff").status == 2


@pytest.mark.parametrize("length", [4097, 100_000])
def test_a_note_that_is_too_long_makes_no_later_save_fail(repository: Repository, length: int, tmp_path: Path) -> None:
    repository.write("f", "x")
    before = sorted(repository.control.joinpath("packs").iterdir())
    (tmp_path / "note").write_text("é" * (length // 2) + "x" * (length % 2))
    for done in (
        repository("snapshot", "x" * length, "--json"),
        repository("snapshot", "-", "--json", stdin=b"x" * length),
        repository("snapshot", "-F", str(tmp_path / "note"), "--json"),
    ):
        assert done.status == 2
        assert done.value["error"]["code"] == "bad-message"
    assert sorted(repository.control.joinpath("packs").iterdir()) == before, "something was stored"
    repository("snapshot", "x" * 4096).ok()
    assert [one["note"] for one in repository.json("history")] == ["x" * 4096]


def test_a_bad_tag_is_refused_before_anything_is_read(repository: Repository) -> None:
    (repository.main / "f").write_text("x")
    for tag in ("a b", "HEAD", "-x", "a/b", ".", ""):
        done = repository("snapshot", "x", "--tag", tag, "--json")
        assert (done.status, done.value["error"]["error_code"]) == (2, "E_NAME_INVALID"), tag
    assert repository.json("history") == []


def test_special_files_are_left_out_and_never_opened(repository: Repository) -> None:
    repository.write("f", "x")
    os.mkfifo(repository.main / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(repository.main / "s"))
        done = repository("snapshot", "x")
    assert done.status == 3
    assert "Created snapshot" in done.out
    assert "fifo" in done.err
    again = repository("snapshot", "y", "--json")
    assert again.status == 3
    assert sorted(one["path"] for one in again.value["skipped"]) == ["fifo", "s"]
    assert list(tree(repository)) == ["f"]
    status = repository.json("status")
    assert status["clean"]


def test_only_some_paths_are_taken(repository: Repository) -> None:
    for name in ("a", "d/b", "d/deep/c", "e"):
        repository.write(name, "before")
    repository.save("before")
    old = tree(repository)
    for name in ("a", "d/b", "d/deep/c", "d/deep/new", "new/f", "secret"):
        repository.write(name, f"after {name}")
    (repository.main / "e").unlink()
    repository("snapshot", "one file", "--paths", "d/deep/c").ok()
    now = tree(repository)
    assert now == old | {"d/deep/c": now["d/deep/c"]}
    assert now["d/deep/c"] != old["d/deep/c"]
    repository("snapshot", "a directory, one that is new, and one that is gone", "--paths", "d", "--paths", "e").ok()
    assert set(tree(repository)) == {"a", "d/b", "d/deep/c", "d/deep/new"}
    assert tree(repository)["a"] == old["a"]
    repository("snapshot", "in a new directory", "--paths", "f", cwd=repository.main / "new").ok()
    assert set(tree(repository)) == {"a", "d/b", "d/deep/c", "d/deep/new", "new/f"}
    status = repository.json("status")
    assert [change["path"] for change in status["modified"]] == ["a"]
    assert [change["path"] for change in status["added"]] == ["secret"]
    repository("snapshot", "the rest").ok()
    assert repository.json("status")["clean"]
    repository("fs", "verify", "--all").ok()


def test_a_path_is_taken_in_the_first_snapshot(repository: Repository) -> None:
    repository.write("d/e/f", "x")
    repository.write("d/g", "y")
    (repository.main / "d" / "link").symlink_to("g")
    repository("snapshot", "x", "--paths", "d/e", "--paths", "d/link").ok()
    assert list(tree(repository)) == ["d/e/f"]
    assert repository.json("status")["total_added"] == 1


def test_large_files_are_taken_by_path(repository: Repository) -> None:
    large = repository.main / "large"
    large.write_bytes(os.urandom(3 << 20))
    repository.write("other", "x")
    repository("snapshot", "x", "--paths", "large").ok()
    assert list(tree(repository)) == ["large"]
    repository("fs", "verify", "main").ok()
    assert repository("fs", "pull", "main", str(repository.root.parent / "out")).ok()
    assert (repository.root.parent / "out" / "large").read_bytes() == large.read_bytes()


def test_paths_that_are_not_there_or_not_inside(repository: Repository) -> None:
    repository.write("f", "x")
    assert repository("snapshot", "x", "--paths", "nothing").status == 5
    for path in ("../f", "/etc/passwd", "..", ".jvs/config"):
        done = repository("snapshot", "x", "--paths", path, "--json")
        assert done.status == 2, path
        assert done.value["error"]["error_code"] == "E_PATH_ESCAPE"
    assert repository.json("history") == []


@pytest.mark.parametrize("level", ["none", "fast", "default", "max"])
def test_every_compression_verifies(repository: Repository, level: str) -> None:
    repository.write("text", "the same line again\n" * 20_000)
    repository.write("small", level)
    assert repository.json("snapshot", level, "--compress", level)["integrity_state"] == "verified"
    repository("fs", "verify", "--all").ok()
    stored = sum(path.stat().st_size for path in (repository.control / "packs").iterdir())
    assert (stored > 400_000) == (level == "none")


def test_what_is_configured_compresses(repository: Repository) -> None:
    repository("config", "set", "compress", "none").ok()
    repository.write("text", "the same line again\n" * 20_000)
    repository.save("x")
    assert sum(path.stat().st_size for path in (repository.control / "packs").iterdir()) > 400_000


def test_a_push_of_a_worktree_is_a_save_point(repository: Repository) -> None:
    repository.write("f", "x")
    one = repository.save("one")
    repository.write("f", "y")
    pushed = repository.json("fs", "push", str(repository.main), "-m", "two", cwd=repository.root)
    assert (pushed["label"], pushed["status"]) == ("main", "advanced")
    newest = repository.json("history")[0]
    assert (newest["note"], newest["parent_id"], newest["integrity_state"]) == ("two", one, "verified")
    assert newest["descriptor_checksum"] == pushed["entry_id"]
    assert repository.json("status")["head_snapshot_id"] == newest["snapshot_id"]


def test_a_push_as_another_label_leaves_the_worktree_where_it_stands(repository: Repository) -> None:
    repository.write("f", "x")
    one = repository.save("one")
    repository.write("f", "y")
    repository("fs", "push", ".", "--label", "other").ok()
    status = repository.json("status")
    assert (status["label"], status["head_snapshot_id"], status["total_modified"]) == ("main", one, 1)


def test_a_label_that_somebody_else_moved(repository: Repository) -> None:
    repository.write("f", "1")
    repository.save("one")
    repository.write("f", "2")
    repository.save("two")
    repository("fs", "reset", "main", "main@1").ok()
    repository.write("f", "3")
    status = repository("status")
    assert "behind by 1" in status.out
    done = repository("snapshot", "three", "--json")
    assert done.status == 6
    assert "jvs restore HEAD" in done.value["error"]["next"]
    assert "jvs fs merge" in done.value["error"]["next"]
    assert repository("fs", "push", ".").status == 6
    assert (repository.main / "f").read_text() == "3"
    assert [one.get("note") for one in repository.json("history")] == [None, "two", "one"]


def test_what_a_pull_of_an_older_snapshot_detaches(repository: Repository) -> None:
    repository.write("f", "1")
    one = repository.save("one")
    repository.write("f", "2")
    two = repository.save("two")
    repository("fs", "pull", "main@1", ".").ok()
    status = repository.json("status")
    assert (status["state"], status["detached"], status["head_snapshot_id"]) == ("DETACHED", True, one)
    assert status["latest_snapshot_id"] == two
    assert "DETACHED" in repository("status").out
    for words in (["snapshot", "x"], ["save", "-m", "x"], ["fs", "push", "."], ["fs", "push", ".", "--force"]):
        done = repository(*words)
        assert done.status == 1, words
        assert "jvs worktree fork" in done.err
        assert "jvs restore HEAD" in done.err
    history = repository.json("history")
    assert [(one["note"], one.get("newer")) for one in history] == [("two", True), ("one", None)]
    assert "(newer)" in repository("history").out
    repository("fs", "pull", "main", ".").ok()
    assert not repository.json("status")["detached"]
    repository.save("three")


def test_unsaved_work_of_a_pull_is_an_autosave_of_the_worktree(repository: Repository) -> None:
    repository.write("f", "1")
    repository.save("one")
    repository.write("f", "2")
    repository.save("two")
    repository.write("f", "unsaved")
    assert repository("fs", "pull", "main@1", ".").status == 1
    repository("fs", "pull", "main@1", ".", "--autosave").ok()
    repository("fs", "pull", "main", ".").ok()
    assert [one["note"] for one in repository.json("history")] == ["two", "one"]
    every = repository.json("history", "--all")
    assert [one.get("autosave", False) for one in every] == [True, False, False]
    assert every[0]["worktree_name"] == "main"
    assert "(autosave)" in repository("history", "--all").out
    assert "f" in [change["path"] for change in repository.json("diff", "HEAD", "autosave/main")["modified"]]


def test_descriptors_are_exported(repository: Repository) -> None:
    repository.write("f", "x")
    one = repository.json("snapshot", "one")
    file = repository.control / "descriptors" / f"{one['snapshot_id']}.json"
    assert json.loads(file.read_text()) == one
    file.unlink()
    assert repository.json("history") == [one], "a descriptor is never the truth"


def test_nothing_leaks_between_control_and_payload(repository: Repository) -> None:
    control = sorted(path.relative_to(repository.control).parts[0] for path in repository.control.rglob("*"))
    repository.write("f", "x")
    repository.write("d/.jvs/secret", "never")
    repository.save("one")
    assert list(tree(repository)) == ["f"]
    assert [path.name for path in repository.main.rglob("*")]
    assert not (repository.main / ".jvs").exists()
    repository("fs", "pull", "main", ".").ok()
    assert (repository.main / "d" / ".jvs" / "secret").read_text() == "never"
    now = {path.relative_to(repository.control).parts[0] for path in repository.control.rglob("*")}
    assert now - set(control) <= {"locks"}


def test_a_restored_copy_of_an_old_worktree_has_no_strange_mark(session: Session) -> None:
    """Two repositories with one store: what one saved is not taken for the other's own."""
    session("init", "a", "--store", "store").ok()
    session("init", "b", "--store", "store").ok()
    a, b = (session.where / name / "main" for name in "ab")
    (a / "f").write_text("a")
    session("snapshot", "from a", cwd=a).ok()
    assert session("status", cwd=b).ok().out.count("behind by 1") == 1
    (b / "f").write_text("b")
    assert session("snapshot", "from b", cwd=b).status == 6
    assert (b / "f").read_text() == "b"


def test_a_merge_is_settled_in_a_worktree(repository: Repository) -> None:
    repository.write("f", "base\n")
    repository.save("base")
    repository("fs", "label", "exp", "main").ok()
    repository.write("f", "ours\n")
    repository.save("ours")
    theirs = repository.root.parent / "theirs"
    repository("fs", "pull", "exp", str(theirs)).ok()
    (theirs / "f").write_text("theirs\n")
    repository("fs", "push", str(theirs)).ok()
    assert repository("fs", "merge", "main", "exp", "--into", "main", "--out", ".").status == 7
    assert repository("snapshot", "not yet").status == 1
    repository.write("f", "both\n")
    repository("fs", "resolve", ".").ok()
    status = repository.json("status")
    assert (status["state"], status["behind"], status["clean"]) == ("HEAD", 0, True)
    repository.save("after")
    assert len(repository.json("history")) == 4


def test_a_worktree_behind_a_symbolic_link(repository: Repository) -> None:
    elsewhere = repository.root.parent / "elsewhere"
    repository.main.rename(elsewhere)
    repository.main.symlink_to(elsewhere)
    repository.write("f", "x")
    repository("snapshot", "x", "-w", "main", cwd=repository.root).ok()
    assert repository("status", "-w", "main", "--json", cwd=repository.root).ok().value["clean"]
