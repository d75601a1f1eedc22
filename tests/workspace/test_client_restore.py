"""The Client: going back, and that nothing is lost on the way, whatever happens at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore import binding
from jvs.errors import (
    AmbiguousError,
    JvsError,
    LeaseError,
    LockedError,
    StateError,
    UnknownError,
    UnsavedChangesError,
)
from jvs.workspace import Client, Restored


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client.init(tmp_path / "lab") as made:
        yield made


def write(client: Client, name: str, text: str) -> None:
    (client.workspace_path() / name).write_text(text)


def tree(client: Client) -> dict[str, str]:
    root = client.workspace_path()
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_back_and_forth(client: Client) -> None:
    write(client, "a.txt", "one")
    first = client.save("one")
    write(client, "a.txt", "two")
    write(client, "b.txt", "two")
    second = client.save("two")
    inode = client.workspace_path().stat().st_ino
    assert client.restore(first.save_point_id) == Restored(first, True, None)
    assert tree(client) == {"a.txt": "one"}
    assert client.restore(second.save_point_id) == Restored(second, False, None)
    assert tree(client) == {"a.txt": "two", "b.txt": "two"}
    assert client.workspace_path().stat().st_ino == inode
    assert client.history() == [second, first]


def test_nothing_is_saved_while_detached(client: Client) -> None:
    write(client, "a.txt", "one")
    first, second = client.save("one"), client.save("two")
    client.restore(first.save_point_id)
    with pytest.raises(StateError) as refusal:
        client.save("three")
    assert refusal.value.code == "detached"
    assert client.latest_save_point() == second
    assert client.restore_latest() == Restored(second, False, None)
    assert client.save("three").message == "three"


def test_restore_latest_without_save_points_does_nothing(client: Client) -> None:
    write(client, "a.txt", "mine")
    assert client.restore_latest() is None
    assert tree(client) == {"a.txt": "mine"}


def test_unsaved_work_is_saved_first(client: Client) -> None:
    write(client, "a.txt", "one")
    first = client.save("one")
    write(client, "a.txt", "unsaved")
    write(client, "new.txt", "new")
    done = client.restore_latest()
    assert done is not None
    assert done.autosave == "autosave/main@1"
    assert tree(client) == {"a.txt": "one"}
    assert client.history() == [first]
    assert client.latest_save_point() == first
    there = client.repo.resolve(done.autosave)
    assert {name for name in ("a.txt", "new.txt") if client.repo.cat(f"{done.autosave}:{name}")} == {"a.txt", "new.txt"}
    assert b"".join(client.repo.cat(f"{there.ca_id.hex()}:a.txt")) == b"unsaved"


def test_the_beginning_of_an_id_will_do(client: Client) -> None:
    write(client, "a.txt", "one")
    first = client.save("note", tags=["tag"])
    write(client, "a.txt", "two")
    time.sleep(0.002)
    client.save("other")
    assert client.restore(first.save_point_id[:12].upper()).save_point == first
    with pytest.raises(AmbiguousError) as several:
        client.restore(first.save_point_id[:4])
    assert len(several.value.details["matches"]) == 2


@pytest.mark.parametrize("target", ["", "abc", "note", "tag", "HEAD", "main", "main@1", "0" * 26, "tag:tag", "../x"])
def test_only_ids_name_save_points(client: Client, target: str) -> None:
    """What a program was handed must not become a note, a tag or a label by accident."""
    write(client, "a.txt", "one")
    client.save("note", tags=["tag"])
    write(client, "a.txt", "unsaved")
    with pytest.raises(UnknownError) as refusal:
        client.restore(target)
    assert refusal.value.code == "unknown-snapshot"
    assert tree(client) == {"a.txt": "unsaved"}


def test_an_id_that_is_the_beginning_of_a_note_too(client: Client) -> None:
    first = client.save("one")
    time.sleep(0.002)
    client.save(first.save_point_id)
    assert client.restore(first.save_point_id).save_point == first


def test_what_cannot_be_saved_is_in_the_way_unless_forced(client: Client) -> None:
    write(client, "a.txt", "one")
    client.save("one")
    (client.workspace_path() / "a.txt").unlink()
    os.mkfifo(client.workspace_path() / "a.txt")
    with pytest.raises(UnsavedChangesError):
        client.restore_latest()
    client.restore_latest(force=True)
    assert tree(client) == {"a.txt": "one"}


def test_the_lock_of_somebody_else_keeps_restores_out(client: Client) -> None:
    write(client, "a.txt", "one")
    client.save("one")
    write(client, "a.txt", "unsaved")
    client.repo.labels.acquire_lock("main", 60_000)
    with pytest.raises(LeaseError):
        client.restore_latest()
    assert tree(client) == {"a.txt": "unsaved"}


# -- stopping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "deadline", "callback"])
def test_a_restore_that_is_stopped_changes_nothing(client: Client, how: str) -> None:
    for number in range(50):
        write(client, f"{number}.bin", f"{number}" * 200_000)
    first = client.save("one")
    for number in range(50):
        (client.workspace_path() / f"{number}.bin").unlink()
    write(client, "b.txt", "two")
    client.save("two")
    cancel = threading.Event()
    told: list[int] = []

    class EnoughError(Exception):
        pass

    def tell(done: int, _total: int | None, _items: int) -> None:
        told.append(done)
        if how == "callback":
            raise EnoughError
        cancel.set()

    with pytest.raises(EnoughError if how == "callback" else JvsError) as stopped:
        client.restore(
            first.save_point_id,
            progress=tell,
            cancel=cancel if how == "cancel" else None,
            deadline=None if how != "deadline" else time.monotonic() - 1,
        )
    if how != "callback":
        assert isinstance(stopped.value, JvsError)
        assert stopped.value.code == "interrupted"
    assert tree(client) == {"b.txt": "two"}
    assert client.save("three").message == "three"
    assert client.restore(first.save_point_id).detached
    assert len(tree(client)) == 50


# -- at once -----------------------------------------------------------------------------------------------------------


def test_savers_and_restorers_in_threads(client: Client) -> None:
    """What is saved by one, and taken back by another, in the same workspace at the same time: each call does what it
    says or is refused because of where the workspace stands, and every save point stays what it was."""
    write(client, "turn.txt", "start")
    client.save("start")
    failures: list[BaseException] = []
    stop = time.monotonic() + 2.0

    def save(number: int) -> None:
        turn = 0
        while time.monotonic() < stop:
            turn += 1
            write(client, f"{number}.txt", f"{number}.{turn}")
            try:
                client.save(f"{number}.{turn}")
            except StateError as error:
                if error.code not in ("detached", "interrupted-pull"):
                    failures.append(error)
            except BaseException as error:
                failures.append(error)

    def restore(number: int) -> None:
        while time.monotonic() < stop:
            try:
                if number % 2:
                    client.restore_latest()
                else:
                    client.restore(client.history()[-1].save_point_id)
            except UnsavedChangesError:
                pass  # a file was written to while it was being replaced
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for work in (save, restore) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    client.restore_latest()
    saved = client.history()
    ids = [one.save_point_id for one in saved]
    assert ids == sorted(set(ids), reverse=True)
    for one in saved[:20]:  # a restore between a write and its save takes the file away again: what is in it is open
        client.verify(one.save_point_id)


WORKER = """
import sys
from jvs.workspace import Client
root, number, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Client.open_or_init(root, wait=60) as client:
    for turn in range(turns):
        (client.workspace_path() / f"{number}.txt").write_text(f"{number}.{turn}")
        client.save(f"{number}.{turn}")
        if turn % 3 == number % 3:
            client.restore_latest()
"""


def test_many_processes_on_one_repository(tmp_path: Path) -> None:
    """Savers that never fail: all of them save and go back to the newest, so nobody is ever detached for long."""
    turns = 6
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path / "lab", str(number), str(turns)], stderr=subprocess.PIPE
        )
        for number in range(4)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()
    with Client.open(tmp_path / "lab") as client:
        messages = [one.message for one in client.history()]
        assert len(messages) == 4 * turns
        for number in range(4):
            own = [message for message in messages if message.startswith(f"{number}.")]
            assert own == [f"{number}.{turn}" for turn in reversed(range(turns))]
        client.restore_latest()
        for one in client.history():
            client.restore(one.save_point_id)


def test_a_restore_waits_no_longer_than_it_was_told(client: Client) -> None:
    client.save("one")
    with (
        Client.open(client.repo_root, wait=0.1) as impatient,
        binding.lock(str(client.workspace_path())),
        pytest.raises(LockedError),
    ):
        impatient.restore_latest()


KILLED = """
import os, signal, sys
from jvs.workspace import Client
with Client.open(sys.argv[1]) as client:
    old = client.history()[-1].save_point_id
    client.restore(old, progress=lambda *_facts: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_what_a_killed_restore_left_is_seen_to_by_whoever_has_it_open(client: Client) -> None:
    """A Client that lives long finishes what other processes left, without being opened anew."""
    for number in range(20):
        write(client, f"{number}.txt", "old" * 1000)
    client.save("old")
    for number in range(20):
        write(client, f"{number}.txt", "new" * 1000)
    client.save("new")
    killed = subprocess.run([sys.executable, "-c", KILLED, client.repo_root])
    assert killed.returncode == -9
    done = client.restore_latest()
    assert done is not None
    assert not done.detached
    assert set(tree(client).values()) == {"new" * 1000}
    assert client.save("after").message == "after"
