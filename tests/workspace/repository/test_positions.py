"""Where a worktree stands, whoever moves its label or its directory."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jvs.castore.binding import Binding
from jvs.errors import LabelMovedError, StateError, UsageError
from jvs.workspace.push import PushOptions
from jvs.workspace.repository import position
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import find_layout
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    init(str(tmp_path / "r"), engine="copy")
    with Repository.open(find_layout(str(tmp_path / "r"), ""), actor="ada") as opened:
        yield opened


def save(repository: Repository, text: str) -> str:
    """Write a file, and save it; the id."""
    Path(repository.path("main"), "f").write_text(text)
    return snapshot(repository, "main", SnapshotOptions(text)).save_point.save_point_id


def bound(repository: Repository) -> Binding:
    found = position.load(repository.place("main"))
    assert found is not None
    return found


def test_a_new_worktree_stands_nowhere(repository: Repository) -> None:
    assert repository.standing("main") == position.Standing("main", None, 0)
    assert repository.head("main") is None
    assert repository.latest("main") is None


def test_a_save_whose_end_was_cut_off_is_the_worktree_s_own(repository: Repository) -> None:
    save(repository, "one")
    before = bound(repository)
    two = save(repository, "two")
    three = save(repository, "three")
    position.save(repository.repo, repository.place("main"), before)
    standing = repository.standing("main")
    assert (standing.behind, standing.detached) == (0, False)
    head = repository.head("main")
    assert head is not None
    assert head.save_point_id == three
    assert save(repository, "four") > three > two


def test_the_first_save_whose_end_was_cut_off(repository: Repository) -> None:
    one = save(repository, "one")
    Path(repository.layout.binding("main")).unlink()
    head = repository.head("main")
    assert head is not None
    assert head.save_point_id == one
    assert repository.standing("main").behind == 0


def test_what_others_did_after_a_cut_off_save_is_theirs(repository: Repository) -> None:
    save(repository, "one")
    before = bound(repository)
    two = save(repository, "two")
    repository.repo.reset("main", "main@1")
    position.save(repository.repo, repository.place("main"), before)
    head = repository.head("main")
    assert head is not None
    assert head.save_point_id == two
    assert repository.standing("main").behind == 1


def test_a_copy_does_not_take_another_s_saves_for_its_own(tmp_path: Path) -> None:
    """Two copies of a repository with one store: each is behind what the other saved."""
    init(str(tmp_path / "a"), store=str(tmp_path / "store"), engine="copy")
    with Repository.open(find_layout(str(tmp_path / "a"), ""), actor="ada") as a:
        save(a, "one")
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        save(a, "two")
    with Repository.open(find_layout(str(tmp_path / "b"), ""), actor="bob") as b:
        assert b.standing("main").behind == 1
        with pytest.raises(LabelMovedError):
            save(b, "three")
        assert Path(b.path("main"), "f").read_text() == "three"


def test_a_position_that_is_damaged_is_found_again(repository: Repository) -> None:
    one = save(repository, "one")
    Path(repository.layout.binding("main")).write_bytes(b"damaged")
    head = repository.head("main")
    assert head is not None
    assert head.save_point_id == one
    save(repository, "two")


def test_detached_is_what_a_pull_of_an_older_one_is(repository: Repository) -> None:
    one, two = save(repository, "one"), save(repository, "two")
    main = repository.path("main")
    repository.repo.pull("main@1", main)
    assert bound(repository).detached
    head, latest = repository.head("main"), repository.latest("main")
    assert head is not None
    assert latest is not None
    assert (head.save_point_id, latest.save_point_id) == (one, two)
    for options in (PushOptions(), PushOptions(label="main", force=True), PushOptions(expected="2")):
        with pytest.raises(StateError) as raised:
            repository.repo.push(main, label=options.label, force=options.force, expected=options.expected)
        assert raised.value.code == "detached"
    pushed = repository.repo.push(main, label="side")
    assert pushed.status == "advanced"
    assert bound(repository).detached, "a push as another label leaves the worktree where it stands"
    repository.repo.pull("main@2", main)
    assert not bound(repository).detached
    repository.repo.pull("side", main)
    assert bound(repository).detached
    assert bound(repository).label == "main"


def test_the_bare_content_of_the_newest_save_point_is_detached(repository: Repository) -> None:
    """Content has no place in a history."""
    save(repository, "one")
    repository.repo.pull(bound(repository).ca_id.hex(), repository.path("main"))  # type: ignore[union-attr]
    assert bound(repository).detached


def test_an_interrupted_pull_keeps_the_position(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    save(repository, "one")
    save(repository, "two")
    from jvs.castore.checkout import apply

    def fail(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(apply.Changer, "place", fail)
        with pytest.raises(KeyboardInterrupt):
            repository.repo.pull("main@1", repository.path("main"))
    now = bound(repository)
    assert (now.label, now.generation, now.detached) == ("main", 2, False)
    assert now.pending is not None
    with pytest.raises(StateError) as raised:
        save(repository, "neither")
    assert raised.value.code == "interrupted-pull"
    assert raised.value.next == "jvs restore HEAD -w main"
    Path(repository.path("main"), "f").write_text("two")
    repository.repo.pull("main", repository.path("main"))
    assert bound(repository) == replace(now, pending=None, generation=2)


def test_saves_at_once_wait_for_one_another(repository: Repository) -> None:
    Path(repository.path("main"), "f").write_text("x")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(3):
                snapshot(repository, "main", SnapshotOptions(f"{number} {turn}", wait=60))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    ids = [one.save_point_id for one in repository.savepoints.history("main")]
    assert len(ids) == 12
    assert ids == sorted(ids, reverse=True)


def test_a_name_is_asked_for_at_the_root(repository: Repository) -> None:
    assert repository.choose(None, repository.path("main")) == "main"
    assert repository.choose("main", repository.root) == "main"
    with pytest.raises(UsageError):
        repository.choose(None, repository.root)
