"""The Client: the calls of the first JVS's library, on our repositories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from jvs.errors import (
    CODES,
    JvsError,
    LabelMovedError,
    LeaseError,
    LockedError,
    NoStoreError,
    StateError,
    UnknownError,
    UsageError,
)
from jvs.workspace import CleanupPlan, Client, Repo, SavePoint, detect_engine, validate_engine


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client.init(tmp_path / "lab") as made:
        yield made


def write(client: Client, name: str, text: str, workspace: str = "main") -> None:
    (client.workspace_path(workspace) / name).write_text(text)


# -- making and opening ------------------------------------------------------------------------------------------------


def test_init_makes_a_repository(tmp_path: Path) -> None:
    with Client.init(tmp_path / "new" / "lab", name="lab-1") as made:
        assert made.repo_root == tmp_path / "new" / "lab"
        assert made.workspace_path() == made.workspace_path("main") == made.repo_root / "main"
        assert made.workspace_path().is_dir()
        assert made.repo_id == (made.repo_root / ".jvs" / "repo_id").read_text().strip()
        assert made.engine_type == detect_engine(str(tmp_path))
        assert validate_engine(str(made.repo_root), made.engine_type).name == made.engine_type
        assert isinstance(made.repo, Repo)
        event = next(
            record
            for record in made.repo.store.journal_records()
            if record.op == "audit.init"  # who it is, and where a name that was given is kept
        )
        assert event.skeleton["details"]["name"] == "lab-1"


@pytest.mark.parametrize("name", ["", "a/b", "-x", "HEAD", "..", "a b"])
def test_init_refuses_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        Client.init(tmp_path / "lab", name=name)
    assert refusal.value.code == "bad-name"
    assert not (tmp_path / "lab").exists()


def test_init_refuses_what_is_there(client: Client, tmp_path: Path) -> None:
    with pytest.raises(StateError) as refusal:
        Client.init(client.repo_root)
    assert refusal.value.code == "already-exists"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(StateError):
        Client.init(tmp_path / "full")
    with Client.init(tmp_path / "full", adopt=True) as adopted:
        assert adopted.workspace_path() == tmp_path / "full"
        adopted.save("as it was")
    assert (tmp_path / "full" / "mine").read_text() == "mine"


def test_init_with_an_engine(tmp_path: Path) -> None:
    with Client.init(tmp_path / "a", engine="copy") as made:
        assert made.engine_type == "copy"
        assert made.save().engine == "copy"
    with pytest.raises(UnknownError) as refusal:
        Client.init(tmp_path / "b", engine="steam")
    assert refusal.value.code == "unknown-engine"
    assert not (tmp_path / "b").exists()


def test_open_looks_upwards(client: Client, tmp_path: Path) -> None:
    inside = client.workspace_path() / "deep" / "er"
    inside.mkdir(parents=True)
    with Client.open(str(inside)) as opened:
        assert opened.repo_root == client.repo_root
        assert opened.repo_id == client.repo_id
    with pytest.raises(NoStoreError) as refusal:
        Client.open(tmp_path)
    assert refusal.value.code == "no-repository"


def test_open_or_init_makes_one_and_then_opens_it(tmp_path: Path) -> None:
    with Client.open_or_init(tmp_path / "lab", name="lab") as first:
        made = first.repo_id
    with Client.open_or_init(tmp_path / "lab") as again:
        assert again.repo_id == made
    with Client.open_or_init(tmp_path / "lab" / "main" / "not" / "there") as above:
        assert above.repo_id == made
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(StateError) as refusal:
        Client.open_or_init(tmp_path / "full")
    assert refusal.value.code == "already-exists"


def test_many_may_open_or_init_at_once(tmp_path: Path) -> None:
    found: list[str] = []

    def one() -> None:
        with Client.open_or_init(tmp_path / "lab") as opened:
            opened.save("hello")
            found.append(opened.repo_id)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    with Client.open(tmp_path / "lab") as opened:
        assert len(opened.history()) == 6


def test_the_store_may_lie_elsewhere(tmp_path: Path) -> None:
    with Client.init(tmp_path / "lab", store=tmp_path / "store") as made:
        made.save("one")
    with Client.open(tmp_path / "lab") as opened:
        assert [one.message for one in opened.history()] == ["one"]
    assert (tmp_path / "store" / "format_version").exists()


def test_it_says_who_does_things(tmp_path: Path) -> None:
    with Client.init(tmp_path / "lab", actor="ada") as made:
        made.save()
    with Client.open(tmp_path / "lab") as opened:
        opened.save()
        newest, oldest = opened.repo.log("main", None)
    assert oldest.actor == "ada"
    assert newest.actor == f"uid{os.getuid()}@{os.uname().nodename}"


# -- saving and looking ------------------------------------------------------------------------------------------------


def test_a_save_point_has_the_fields_of_the_first_jvs(client: Client) -> None:
    write(client, "a.txt", "one")
    made = client.save("as it came", tags=["raw", "v1"])
    assert isinstance(made, SavePoint)
    assert [field.name for field in fields(made)] == [
        "save_point_id",
        "workspace_name",
        "created_at",
        "message",
        "tags",
        "engine",
        "payload_root_hash",
        "descriptor_checksum",
        "integrity_state",
    ]
    assert made.workspace_name == "main"
    assert made.message == "as it came"
    assert made.tags == ("raw", "v1")
    assert made.engine == client.engine_type
    assert made.integrity_state == "verified"
    assert len(made.payload_root_hash) == len(made.descriptor_checksum) == 64
    assert json.loads(json.dumps(made.as_json()))["tags"] == ["raw", "v1"]
    assert set(client.save().as_json()) == {field.name for field in fields(made)} - {"message", "tags"}
    with pytest.raises(FrozenInstanceError):
        made.message = "another"  # type: ignore[misc]


def test_the_commands_see_the_same(client: Client) -> None:
    write(client, "a.txt", "one")
    made = client.save("from Python")
    shown = subprocess.run(
        [Path(sys.executable).parent / "jvs", "history", "--json"],
        cwd=client.workspace_path(),
        capture_output=True,
        check=True,
    )
    (told,) = json.loads(shown.stdout)
    assert told["snapshot_id"] == made.save_point_id
    assert told["note"] == "from Python"
    assert told["payload_root_hash"] == made.payload_root_hash


def test_history_is_newest_first(client: Client) -> None:
    assert client.history() == []
    assert client.latest_save_point() is None
    assert not client.has_save_points()
    made = [client.save(str(number)) for number in range(5)]
    assert client.history() == client.history("main", 0) == client.history(limit=-1) == made[::-1]
    assert client.history(limit=2) == made[:2:-1]
    assert client.history(limit=99) == made[::-1]
    assert client.latest_save_point() == made[-1]
    assert client.has_save_points("main")
    ids = [one.save_point_id for one in made]
    assert ids == sorted(ids)


def test_a_save_is_made_also_when_nothing_changed(client: Client) -> None:
    write(client, "a.txt", "one")
    first, second = client.save("one"), client.save("one")
    assert first.payload_root_hash == second.payload_root_hash
    assert first.save_point_id != second.save_point_id


def test_what_no_workspace_is_called(client: Client) -> None:
    for call in (client.save, client.history, client.latest_save_point, client.has_save_points, client.workspace_path):
        with pytest.raises(UnknownError) as refusal:
            call(workspace="nowhere")
        assert refusal.value.code == "unknown-worktree"


def test_a_message_that_is_too_long_is_refused_at_once(client: Client) -> None:
    write(client, "a.txt", "one")
    with pytest.raises(UsageError) as refusal:
        client.save("x" * 100_000)
    assert refusal.value.code == "bad-message"
    assert client.save("short").message == "short"


def test_a_workspace_that_is_behind_is_not_saved(client: Client) -> None:
    write(client, "a.txt", "one")
    first = client.save("one")
    write(client, "a.txt", "two")
    client.save("two")
    client.repo.set_label("main", first.descriptor_checksum)
    with pytest.raises(LabelMovedError):
        client.save("three")


def test_the_lock_of_somebody_else(client: Client) -> None:
    held = client.repo.labels.acquire_lock("main", 60_000)
    with pytest.raises(LeaseError) as refusal:
        client.save()
    assert refusal.value.error_code == "E_LOCK_CONFLICT"
    with Client.open(client.repo_root, nonce=held.nonce) as holder:
        assert holder.save("mine").message == "mine"


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_progress_is_told(client: Client) -> None:
    write(client, "a.bin", "x" * 3_000_000)
    told: list[tuple[int, int | None, int]] = []
    client.save(progress=lambda *facts: told.append(facts))
    assert told
    assert max(done for done, _, _ in told) >= 3_000_000  # more, where it was so young that it is read twice
    assert max(items for _, _, items in told) == 1


def test_what_the_callback_raises_comes_out(client: Client) -> None:
    class EnoughError(Exception):
        pass

    def enough(*_facts: object) -> None:
        raise EnoughError

    write(client, "a.bin", "x" * 3_000_000)
    with pytest.raises(EnoughError):
        client.save(progress=enough)
    assert not client.has_save_points()
    assert client.save("afterwards").message == "afterwards"


def test_a_call_that_is_cancelled_before_it_begins(client: Client) -> None:
    cancel = threading.Event()
    cancel.set()
    for stop in ({"cancel": cancel}, {"deadline": time.monotonic() - 1}):
        with pytest.raises(JvsError) as stopped:
            client.save(**stop)
        assert stopped.value.code == "interrupted"
        assert CODES[stopped.value.code].exit == 130
    assert not client.has_save_points()


def test_a_save_that_is_cancelled_moves_nothing(client: Client) -> None:
    write(client, "a.txt", "one")
    client.save("one")
    for number in range(2_000):
        write(client, f"{number}.txt", str(number))
    (client.workspace_path() / "big.bin").write_bytes(os.urandom(4 << 20))
    cancel = threading.Event()
    calls = 0

    def tell(*_facts: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            cancel.set()

    with pytest.raises(JvsError) as stopped:
        client.save("two", progress=tell, cancel=cancel)
    assert stopped.value.code == "interrupted"
    assert calls == 2
    assert [one.message for one in client.history()] == ["one"]
    assert client.save("three").message == "three"


# -- at once -----------------------------------------------------------------------------------------------------------


def test_one_client_in_many_threads(client: Client) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                write(client, f"{number}.txt", str(turn))
                client.save(f"{number}.{turn}")
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    messages = [one.message for one in client.history()]
    assert len(messages) == 30
    for number in range(6):
        assert [message for message in messages if message.startswith(f"{number}.")] == [
            f"{number}.{turn}" for turn in (4, 3, 2, 1, 0)
        ]


def test_a_save_waits_for_another_one_no_longer_than_it_was_told(client: Client) -> None:
    from jvs.castore import binding

    with (
        Client.open(client.repo_root, wait=0.1) as impatient,
        binding.lock(str(client.workspace_path())),
        pytest.raises(LockedError) as refusal,
    ):
        impatient.save()
    assert refusal.value.error_code == "E_REPO_BUSY"
    assert client.save("now").message == "now"


def test_importing_the_package_is_cheap() -> None:
    """The names of the package are there without what stands behind them being imported."""
    code = (
        "import sys, jvs.workspace as w\n"
        "heavy = [n for n in sys.modules if n.startswith('jvs.') and n != 'jvs.workspace']\n"
        "assert not heavy, heavy\n"
        "assert set(w.__all__) <= set(dir(w))\n"
        "assert all(getattr(w, name) for name in w.__all__)\n"
        "assert not hasattr(w, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_client_looks_at_no_environment(tmp_path: Path) -> None:
    """Not for the store, not for who it is, not for a lock or an engine."""
    code = (
        "import os, sys\n"
        "class Closed(dict):\n"
        "    def __getitem__(self, key): raise AssertionError(key)\n"
        "    get = __getitem__\n"
        "from jvs.workspace import Client\n"
        "real = os.environ\n"
        "os.environ = Closed()\n"
        "with Client.open_or_init(sys.argv[1]) as c:\n"
        "    (c.workspace_path() / 'a').write_text('x')\n"
        "    c.save('one', tags=['t'])\n"
        "    assert c.history()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "lab"],
        env={
            **os.environ,
            "JVS_STORE": "/nowhere",
            "JVS_ENGINE": "steam",
            "JVS_LOCK_NONCE": "none",
            "JVS_ACTOR": "eve",
        },
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stdout
    assert not done.stderr
    with Client.open(tmp_path / "lab") as opened:
        assert next(iter(opened.repo.log("main", 1))).actor != "eve"


def test_a_cleanup_plan_has_the_fields_of_the_first_jvs() -> None:
    assert [field.name for field in fields(CleanupPlan)] == [
        "plan_id",
        "created_at",
        "protected_save_points",
        "protected_by_history",
        "candidate_count",
        "reclaimable_save_points",
        "reclaimable_bytes_estimate",
    ]


def test_one_tag_is_not_taken_for_a_list_of_letters(client: Client) -> None:
    with pytest.raises(UsageError) as caught:
        client.save("x", tags="best")
    assert caught.value.code == "bad-tag"
    assert not client.has_save_points()
