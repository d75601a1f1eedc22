"""`jvs history`, `jvs status`, `jvs diff`, and what may be typed to name a snapshot."""

from __future__ import annotations

import pytest

from tests.blackbox.workspace.conftest import Repository


@pytest.fixture
def saved(repository: Repository) -> list[str]:
    """Ids of three snapshots, `base line`, `better`, `base again`; the second is tagged `best`."""
    ids = []
    for number, (note, tags) in enumerate([("base line", []), ("better", ["--tag", "best"]), ("base again", [])]):
        repository.write("f", f"{number}\n" * (number + 1))
        repository.write(f"only-{number}", "x")
        ids.append(repository.save(note, *tags))
    return ids


def paths(changes: list[dict[str, str]]) -> list[str]:
    return [change["path"] for change in changes]


def test_an_empty_history(repository: Repository) -> None:
    assert repository.json("history") == []
    done = repository("history").ok()
    assert done.out == ""
    assert "no snapshot" in done.err


def test_history_is_newest_first(repository: Repository, saved: list[str]) -> None:
    listed = repository.json("history")
    assert [one["snapshot_id"] for one in listed] == saved[::-1]
    assert [one.get("parent_id") for one in listed] == [saved[1], saved[0], None]
    lines = repository("history").ok().out.splitlines()
    assert len(lines) == 3
    assert "base again" in lines[0]
    assert saved[2][:12] in lines[0]
    assert "HEAD" in lines[0]
    assert "[best]" in lines[1]


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        (["-n", "2"], ["base again", "better"]),
        (["--limit", "1"], ["base again"]),
        (["-n", "0"], ["base again", "better", "base line"]),
        (["-g", "BASE"], ["base again", "base line"]),
        (["--grep", "line"], ["base line"]),
        (["--tag", "best"], ["better"]),
        (["--tag", "best", "-g", "base"], []),
        (["-g", "base", "-n", "1"], ["base again"]),
        (["--tag", "nothing"], []),
    ],
)
def test_history_is_filtered(repository: Repository, saved: list[str], words: list[str], notes: list[str]) -> None:
    assert [one["note"] for one in repository.json("history", *words)] == notes
    assert len(repository("history", "-q", *words).ok().out.split()) == len(notes)


def test_the_status_of_a_new_worktree(repository: Repository) -> None:
    value = repository.json("status")
    assert value["worktree_name"] == "main"
    assert (value["state"], value["clean"], value["head_snapshot_id"]) == ("HEAD", True, None)
    repository.write("f", "x")
    value = repository.json("status")
    assert (value["clean"], value["total_added"], paths(value["added"])) == (False, 1, ["f"])
    assert any("jvs snapshot" in step for step in value["next"])


def test_the_status_counts_what_is_unsaved(repository: Repository, saved: list[str]) -> None:
    assert repository.json("status")["clean"]
    repository.write("f", "changed")
    repository.write("new/file", "x")
    (repository.main / "only-0").unlink()
    value = repository.json("status")
    assert (value["total_added"], value["total_removed"], value["total_modified"]) == (1, 1, 1)
    assert (paths(value["added"]), paths(value["removed"]), paths(value["modified"])) == (
        ["new/file"],
        ["only-0"],
        ["f"],
    )
    text = repository("status").ok().out
    for word in ("main", "HEAD", "new/file", "only-0", "jvs snapshot"):
        assert word in text
    assert sorted(repository("status", "-q").ok().out.split()) == ["f", "new/file", "only-0"]


def test_the_status_when_the_directory_is_gone(repository: Repository, saved: list[str]) -> None:
    repository.main.rename(repository.root / "elsewhere")
    done = repository("status", "-w", "main", cwd=repository.root)
    assert done.status == 0
    assert "gone" in done.out
    assert repository("snapshot", "-w", "main", cwd=repository.root).status == 2


def test_a_diff_with_the_directory(repository: Repository, saved: list[str]) -> None:
    repository.write("f", "changed")
    value = repository.json("diff")
    assert (
        list(value)
        == (
            "from_snapshot_id to_snapshot_id from_time to_time added removed modified "
            "total_added total_removed total_modified"
        ).split()
    )
    assert (value["from_snapshot_id"], value["to_snapshot_id"], value["to_time"]) == (saved[2], None, None)
    assert paths(value["modified"]) == ["f"]
    assert (value["total_added"], value["total_removed"], value["total_modified"]) == (0, 0, 1)
    assert "+changed" in repository("diff", "--patch").ok().out
    assert "f" in repository("diff", "--stat").ok().out
    assert repository("diff", "-q").ok().out == "f\n"
    assert repository("diff", "--exit-code").status == 1
    assert repository("diff", "HEAD", "HEAD", "--exit-code").status == 0


def test_a_diff_before_the_first_snapshot(repository: Repository) -> None:
    repository.write("f", "x")
    value = repository.json("diff")
    assert (value["from_snapshot_id"], paths(value["added"])) == (None, ["f"])


@pytest.mark.parametrize(
    ("from_", "to", "added"),
    [
        ("{0}", "{1}", ["only-1"]),
        ("{0[0]}", "HEAD", ["only-1", "only-2"]),
        ("best", "base again", ["only-2"]),
        ("base l", "bett", ["only-1"]),
        ("base line", "best", ["only-1"]),
        ("main@1", "main", ["only-1", "only-2"]),
        ("tag:best", "HEAD", ["only-2"]),
    ],
)
def test_a_diff_of_two_snapshots(
    repository: Repository, saved: list[str], from_: str, to: str, added: list[str]
) -> None:
    words = [text.replace("{0[0]}", saved[0][:12]).format(*saved) for text in (from_, to)]
    value = repository.json("diff", *words)
    assert paths(value["added"]) == added
    assert paths(value["modified"]) == ["f"]
    assert value["from_time"] < value["to_time"]


def test_whole_and_shortened_ids(repository: Repository, saved: list[str]) -> None:
    one = repository.json("history")[0]
    common = len(saved[0])
    while len({text[:common] for text in saved}) < len(saved):
        common -= 1
    names = [saved[2], saved[2].upper(), one["descriptor_checksum"], one["payload_root_hash"], "HEAD"]
    names += [one["descriptor_checksum"][:12], one["payload_root_hash"][:12]]
    for name in names:
        assert repository.json("diff", name)["from_snapshot_id"] == saved[2], name


def test_more_than_one_match_is_an_error_that_lists_them(repository: Repository, saved: list[str]) -> None:
    done = repository("diff", "base", "--json")
    assert done.status == 2
    assert {one["id"] for one in done.value["error"]["details"]["matches"]} == {saved[0], saved[2]}
    text = repository("diff", saved[0][:4])
    assert text.status == 2
    for one in saved:
        assert one in text.err
    repository.save("once more", "--tag", "best")
    done = repository("diff", "best", "--json")
    assert done.status == 2
    assert len(done.value["error"]["details"]["matches"]) == 2


@pytest.mark.parametrize(
    "name", ["nothing", "zzzzzzzz", "0" * 26, "f" * 64, "", "tag:no", "main@99", "../x", "é", "a" * 300]
)
def test_what_is_not_there(repository: Repository, saved: list[str], name: str) -> None:
    done = repository("diff", name, "--json")
    assert done.status == 5
    assert "not found" in done.value["error"]["message"]


def test_head_before_the_first_snapshot(repository: Repository) -> None:
    done = repository("diff", "HEAD", "--json")
    assert done.status == 5
    assert "no snapshot" in done.value["error"]["message"]


def test_a_note_that_is_the_beginning_of_another(repository: Repository) -> None:
    ids = [repository.save(note) for note in ("run 1", "run 10", "run 11")]
    assert repository.json("diff", "run 1")["from_snapshot_id"] == ids[0]
    assert repository("diff", "run").status == 2


def test_what_the_collector_and_renames_write_is_no_snapshot(repository: Repository, saved: list[str]) -> None:
    repository("fs", "label", "--rename", "main", "side").ok()
    status = repository.json("status")
    assert (status["label"], status["behind"], status["head_snapshot_id"]) == ("side", 0, saved[2])
    assert [one["snapshot_id"] for one in repository.json("history")] == saved[::-1]
    repository("fs", "label", "--rename", "side", "main").ok()
    assert repository.json("status")["behind"] == 0
    repository.write("f", "more")
    repository.save("four")
    assert len(repository.json("history")) == 4
    assert repository.json("history")[0]["parent_id"] == saved[2]


@pytest.mark.parametrize("verb", ["verify HEAD", "ref create r HEAD", "pin add HEAD --reason x", "pin rm HEAD"])
def test_head_outside_of_worktrees_is_asked_for(repository: Repository, saved: list[str], verb: str) -> None:
    done = repository(*verb.split(), cwd=repository.root)
    assert done.status == 2
    assert "which worktree?" in done.err
    assert "no snapshot" not in done.err
    if verb != "pin rm HEAD":
        repository(*verb.split(), "-w", "main", cwd=repository.root).ok()
