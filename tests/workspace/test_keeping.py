"""Pins and policies as people give them; what only one label or snapshot keeps; snapshots that are gone."""

from __future__ import annotations

import pytest

from jvs.castore.backend import Kind
from jvs.castore.local.pack import record_length
from jvs.errors import AmbiguousError, CollectedError, UnknownError, UsageError
from jvs.workspace.checkup import lost_snapshots
from jvs.workspace.pins import parse_until
from tests.workspace.gc_support import DAY, Ground, ground

__all__ = ["ground"]


def test_a_pin_is_of_whatever_a_revision_means(ground: Ground) -> None:
    first, head = ground.history(2)
    below = ground.repo.snapshot_of(ground.repo.resolve("main:small"))
    made = [ground.repo.pin(revision, message="why") for revision in ("main@1", "main", "main:small")]
    assert [one.pin.ca_id for one in made] == [first, head, below]
    assert sorted(ground.repo.pins()) == sorted(made)  # in the order of their times, which may be the same
    assert made[0].as_json() | {"pin_id": "", "at": ""} == {
        "pin_id": "",
        "ca_id": first.hex(),
        "at": "",
        "until": None,
        "actor": "tester",
        "message": "why",
        "active": True,
    }


def test_unpin_takes_a_pin_or_a_snapshot(ground: Ground) -> None:
    ground.history(2)
    one, two, three = (ground.repo.pin("main@1") for _ in range(3))
    assert ground.repo.unpin(one.pin.id.hex()[:8]) == [one._replace(active=False)]
    assert {item.pin for item in ground.repo.unpin("main@1")} == {two.pin, three.pin}
    assert ground.repo.pins() == []


@pytest.mark.parametrize("target", ["12345678", "nobody", "main", "f" * 32])
def test_unpin_of_what_is_not_pinned(ground: Ground, target: str) -> None:
    ground.history(1)
    with pytest.raises(UnknownError) as caught:
        ground.repo.unpin(target)
    assert caught.value.exit_status == 5


def test_a_prefix_that_two_pins_share(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.history(1)
    ends = iter((b"\1", b"\2"))
    monkeypatch.setattr("jvs.labels.pins.os.urandom", lambda size: b"\xaa" * (size - 1) + next(ends))
    ground.repo.pin("main")
    ground.repo.pin("main")
    with pytest.raises(AmbiguousError):
        ground.repo.unpin("aaaaaaaa")


def test_what_is_gone_is_not_pinned(ground: Ground) -> None:
    old, _ = ground.history(2)
    ground.repo.set_retention(["keep-last", "0"])
    ground.repo.gc_run()
    with pytest.raises(CollectedError):
        ground.repo.pin("main@1")
    with pytest.raises((UnknownError, CollectedError)):
        ground.repo.pin(old.hex())
    assert ground.repo.pins() == []


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1d", 1_000_000 + DAY), ("1970-01-09T00:00Z", 8 * DAY), ("@700000", 700_000_000)],
)
def test_ends_of_pins(text: str, ms: int) -> None:
    assert parse_until(text, 1_000_000) == ms


@pytest.mark.parametrize("text", ["", "never", "30", "30m", "-1d", "2027-13-01", "9" * 5000])
def test_what_is_no_end_of_a_pin(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_until(text, 1_000_000)
    assert caught.value.code == "bad-duration"


def test_a_pin_that_would_be_over_at_once(ground: Ground) -> None:
    ground.history(1)
    with pytest.raises(UsageError):
        ground.repo.pin("main", "2001-01-01")


def test_policies_are_set_shown_and_unset(ground: Ground) -> None:
    done = ground.repo.set_retention(["keep-daily", "7", "keep-last", "3"], "agent/*")
    assert (done.pattern, done.rules) == ("agent/*", "keep-last 3 keep-daily 7")
    built_in = [("*", "keep-all"), ("autosave/*", "keep-within 30d")]
    assert [(one.pattern, one.rules) for one in ground.repo.retention()] == [
        built_in[0],
        ("agent/*", "keep-last 3 keep-daily 7"),
        built_in[1],
    ]
    ground.repo.unset_retention("agent/*")
    assert [(one.pattern, one.rules) for one in ground.repo.retention()] == built_in
    with pytest.raises(UnknownError):
        ground.repo.unset_retention("agent/*")


@pytest.mark.parametrize(
    "rules",
    [[], ["keep"], ["keep-last"], ["keep-last", "-1"], ["keep-last", "1.5"], ["keep-daily", "0"], ["keep-within", "5"],
     ["keep-all", "keep-last", "1"], ["keep-last", "1", "keep-last", "2"], ["keep-within", "30m"], ["--force"]],
)  # fmt: skip
def test_nonsense_is_no_policy(ground: Ground, rules: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        ground.repo.set_retention(rules)
    assert caught.value.code in ("bad-policy", "bad-duration")
    assert len(ground.repo.retention()) == 2


def test_what_only_a_label_keeps_is_what_gc_frees_without_it(ground: Ground) -> None:
    kept = ground.history(2, "main")
    gone = ground.history(3, "work")
    (ground.source / "work").write_text("both")
    ground.push("work")
    ground.push("main")
    ground.repo.set_retention(["keep-deleted", "0"])
    only = ground.repo.exclusive("work")
    assert (only.kind, only.snapshots) == ("label", 4)
    ground.repo.delete_label("work")
    run = ground.repo.gc_run()
    assert (run.objects, run.bytes) == (only.objects, only.stored_bytes + run.objects * record_length(0))
    assert only.objects > 0
    ground.check(*kept)
    assert not any(ground.repo.has_snapshot(snapshot) for snapshot in gone)


def test_what_only_a_snapshot_keeps(ground: Ground) -> None:
    ground.history(3)
    only = ground.repo.exclusive("main@2")
    assert (only.kind, only.snapshots) == ("snapshot", 1)
    assert 100_000 < only.bytes < 101_000
    assert only.stored_bytes > 100_000
    ground.repo.pin("main@2")
    assert ground.repo.exclusive("main@2") == only, "its own pin is no other snapshot"
    ground.repo.set_label("same", "main@2")
    assert ground.repo.exclusive("same").objects == 0
    (ground.source / "more").write_text("x")
    ground.push("other")
    assert ground.repo.exclusive("main@3").objects < only.objects


def test_what_a_label_and_a_running_command_keep_is_not_the_labels_alone(ground: Ground) -> None:
    from jvs.workspace.reading import pinned

    (head,) = ground.history(1)
    assert ground.repo.exclusive("main").objects > 0
    with pinned(ground.repo, head, what="pull"):
        assert ground.repo.exclusive("main").objects == 0


def test_a_snapshot_that_is_lost_is_told_whatever_keeps_it(ground: Ground) -> None:
    first, second, head = ground.history(3)
    ground.repo.pin("main@1")
    ground.repo.set_retention(["keep-last", "0"])
    ground.repo.gc_run()
    assert list(lost_snapshots(ground.repo)) == []
    ground.repo.store.delete(Kind.PAGE, (first, head))
    lost = {damage.digest: damage for damage in lost_snapshots(ground.repo)}
    assert set(lost) == {first, head}, "nothing keeps the second one any more"
    assert second not in lost
    assert lost[head].path == b"main:"
    assert "kept as pin" in lost[first].reason


def test_a_directory_whose_base_was_collected_is_pushed_and_pulled(ground: Ground) -> None:
    ground.history(3)
    ground.repo.pull("main@1", str(ground.where / "other"))
    ground.repo.set_retention(["keep-last", "0"])
    ground.repo.gc_run()
    done = ground.repo.pull("main", str(ground.where / "other"), discard=True)
    assert done.ca_id == ground.repo.labels.require("main").ca_id
    (ground.where / "other" / "new").write_text("x")
    assert ground.repo.push(str(ground.where / "other"), label="main").status == "advanced"
    ground.check()
