"""The Client: checking save points, and cleaning up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path

import pytest

from jvs.errors import IntegrityError, JvsError, StateError, UnknownError
from jvs.workspace import CleanupPlan, Client

NOW = timedelta(0)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client.init(tmp_path / "lab") as made:
        yield made


def write(client: Client, name: str, text: str) -> None:
    (client.workspace_path() / name).write_text(text)


def save_some(client: Client, number: int) -> list[str]:
    """Ids of so many save points, the oldest first, each with a file of its own."""
    made = []
    for one in range(number):
        write(client, "a.txt", f"{one} " * 1000)
        made.append(client.save(str(one)).save_point_id)
    return made


def test_verify_says_nothing_when_all_is_well(client: Client) -> None:
    (first, second) = save_some(client, 2)
    client.verify(first)
    client.verify(second[:12])
    told: list[int] = []
    client.verify(first, progress=lambda done, _total, _items: told.append(done))
    assert told[-1] >= 2000


def test_verify_raises_on_one_flipped_bit(client: Client) -> None:
    first, second = save_some(client, 2)
    (pack,) = [path for path in (client.repo_root / ".jvs" / "packs").rglob("*") if path.is_file() and path.suffix][:1]
    client.close()
    root = client.repo_root
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    with Client.open(root) as opened:
        bad = []
        for one in (first, second):
            try:
                opened.verify(one)
            except IntegrityError as error:
                bad.append(error)
    assert bad


@pytest.mark.parametrize("target", ["HEAD", "0" * 26, "nothing"])
def test_verify_of_what_is_not_there(client: Client, target: str) -> None:
    save_some(client, 1)
    with pytest.raises(UnknownError):
        client.verify(target)


def test_verify_can_be_stopped(client: Client) -> None:
    (one,) = save_some(client, 1)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(JvsError) as stopped:
        client.verify(one, cancel=cancel)
    assert stopped.value.code == "interrupted"


def test_a_plan_has_the_fields_of_the_first_jvs(client: Client) -> None:
    made = save_some(client, 3)
    plan = client.preview_cleanup()
    assert isinstance(plan, CleanupPlan)
    assert plan.protected_save_points == tuple(made)
    assert plan.protected_by_history == 3
    assert plan.candidate_count == 0
    assert plan.reclaimable_save_points == ()
    value = json.loads(json.dumps(plan.as_json()))
    assert list(value) == [field.name for field in fields(plan)]
    assert value == json.loads(json.dumps(asdict(plan)))


def test_what_policies_let_go_goes_and_nothing_else(client: Client) -> None:
    write(client, "a.txt", "kept by its tag")
    tagged = client.save("tagged", tags=["v1"])
    made = save_some(client, 5)
    assert client.preview_cleanup(min_age=NOW).candidate_count == 0  # nothing goes before a policy says so
    client.repo.set_retention(["keep-last", "2"], "main")
    assert client.preview_cleanup().candidate_count == 0  # all of it was made today
    plan = client.preview_cleanup(min_age=NOW)
    assert plan.reclaimable_save_points == tuple(made[:3])
    assert plan.candidate_count == 3
    assert plan.protected_save_points == (tagged.save_point_id, *made[3:])
    assert plan.protected_by_history == 2
    assert plan.reclaimable_bytes_estimate > 0
    client.run_cleanup(plan.plan_id)
    for one in (tagged.save_point_id, *made[3:]):
        client.verify(one)
    for one in made[:3]:
        with pytest.raises(JvsError):
            client.restore(one)
    assert [one.save_point_id for one in client.history()] == [*reversed(made[3:]), tagged.save_point_id]
    with pytest.raises(StateError) as stale:
        client.run_cleanup(plan.plan_id)
    assert stale.value.code == "gc-plan-stale"


def test_plans_that_are_none(client: Client) -> None:
    for plan_id in ("0" * 32, "nonsense", ""):
        with pytest.raises(UnknownError) as refusal:
            client.run_cleanup(plan_id)
        assert refusal.value.code == "unknown-plan"
        assert refusal.value.error_code == "E_GC_PLAN_MISMATCH"


def test_what_is_protected_since_makes_a_plan_stale(client: Client) -> None:
    made = save_some(client, 4)
    client.repo.set_retention(["keep-last", "1"], "main")
    plan = client.preview_cleanup(min_age=NOW)
    assert plan.candidate_count == 3
    client.repo.pin(client.history()[-1].descriptor_checksum)
    with pytest.raises(StateError):
        client.run_cleanup(plan.plan_id)
    for one in made:
        client.verify(one)


def test_cleanups_beside_savers(client: Client) -> None:
    """Previews and runs in one thread, saves and restores in others: each save point that stays can be read."""
    client.repo.set_retention(["keep-last", "3"], "main")
    failures: list[BaseException] = []
    over = threading.Event()

    def save() -> None:
        try:
            for number in range(10):
                write(client, "a.txt", str(number) * 500)
                client.save(str(number))
                client.restore_latest()
        except BaseException as failure:
            failures.append(failure)
        finally:
            over.set()

    def clean() -> None:
        try:
            while not over.is_set():
                plan = client.preview_cleanup(min_age=NOW)
                try:
                    client.run_cleanup(plan.plan_id)
                except StateError as error:
                    if error.code not in ("gc-plan-stale", "gc-busy"):
                        raise
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for work in (save, clean)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    client.run_cleanup(client.preview_cleanup(min_age=NOW).plan_id)
    kept = client.history()
    assert [one.message for one in kept] == ["9", "8", "7"]
    for one in kept:
        client.verify(one.save_point_id)
