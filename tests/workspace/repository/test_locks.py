"""Locks of worktrees: the note of a nonce, and what becomes of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.errors import LeaseError, NoSpaceError
from jvs.workspace.repo import Repo
from jvs.workspace.repository import audit, locks
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import layout_at
from jvs.workspace.repository.repository import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    init(str(tmp_path / "r"), engine="copy", actor="ada")
    layout = layout_at(str(tmp_path / "r"))
    assert layout is not None
    with Repository.open(layout, actor="ada") as opened:
        yield opened


def test_a_lock_whose_nonce_cannot_be_noted_is_given_back(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would know the nonce, and nobody could save before the lease is over."""

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(locks, "replace_file", full)
        with pytest.raises(NoSpaceError):
            locks.acquire(repository, "main")
    assert locks.status(repository, "main").state == locks.FREE
    assert locks.acquire(repository, "main").as_json()["fencing_token"] == 2


def test_a_note_counts_as_long_as_its_lock_is_in_force(repository: Repository) -> None:
    held = locks.acquire(repository, "main")
    assert held.nonce is not None
    path = repository.repo.store.path
    with Repo.open(path, actor="bob", noted=held.nonce) as repo:
        assert repo.nonce == held.nonce
        repo.labels.check_lock("main")
    with Repo.open(path, actor="bob", nonce="other", noted=held.nonce) as repo:
        assert repo.nonce == "other"
        with pytest.raises(LeaseError):
            repo.labels.check_lock("main")
    locks.release(repository, "main", nonce=held.nonce)
    with Repo.open(path, actor="bob", noted=held.nonce) as repo:
        assert repo.nonce is None
        repo.labels.check_lock("main")
    with Repo.open(path, actor="bob", nonce=held.nonce) as repo, pytest.raises(LeaseError):
        repo.labels.check_lock("main")  # who says so himself is told


def test_the_note_of_another_holder_stays(repository: Repository) -> None:
    first = locks.acquire(repository, "main")
    second = locks.steal(repository, "main", force=True, reason="why")
    with pytest.raises(LeaseError):
        locks.release(repository, "main", nonce=first.nonce)
    assert repository.layout.session_nonce("main") == second.nonce
    locks.renew(repository, "main")
    locks.release(repository, "main")
    assert repository.layout.session_nonce("main") is None


def test_events_are_streamed_and_bounded_by_where_the_journal_ended(repository: Repository) -> None:
    for number in range(5):
        repository.repo.labels.record_act("test", str(number))
    stream = audit.events(repository.repo, limit=2)
    assert next(stream).target == "3"
    repository.repo.labels.record_act("test", "later")
    assert [event.target for event in stream] == ["4"]
    assert audit.verify(repository.repo).records == 7


def test_a_record_of_the_future_has_its_name(repository: Repository) -> None:
    with repository.repo.store.write() as txn:
        txn.journal("levitate", {"x": 1}, {"actor": "zoe"})
        txn.journal("gc", {"plan_id": None}, None)
        txn.journal("unpin", {"ids": [bytes([number]) * 2 for number in range(10)]}, None)
    *_, future, gc, unpin = audit.events(repository.repo)
    assert (future.operation, future.target, future.actor) == ("levitate", "", "zoe")
    assert (gc.target, gc.actor, gc.reason) == ("", "", "")
    assert unpin.target == "0000, 0101, 0202, 0303, 0404, 0505, 0606, 0707 and 2 more"
