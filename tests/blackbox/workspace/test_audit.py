"""`jvs audit`: everything that was done, in a chain that shows whether somebody touched it."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from jvs.workspace.repo import Repo
from tests.blackbox.workspace.conftest import Repository

FIELDS = ["event_id", "timestamp", "operation", "actor", "target", "reason", "prev_hash", "record_hash"]


@pytest.fixture
def busy(repository: Repository) -> Repository:
    """A repository in which a bit of everything was done."""
    repository.write("a", "1")
    repository.save("first")
    repository.write("a", "2")
    repository.save("second", "--tag", "t")
    repository("fs", "label", "side", "main").ok()
    repository("fs", "label", "--delete", "side", "-m", "not wanted").ok()
    repository("fs", "tag", "--delete", "t").ok()
    repository("lock", "acquire", "--purpose", "why not").ok()
    repository("lock", "release").ok()
    repository("ref", "create", "v1", "HEAD", "-m", "sold").ok()
    repository("ref", "delete", "v1", "--reason", "bought back").ok()
    repository("pin", "add", "HEAD", "--reason", "cited").ok()
    repository("fs", "gc", "run").ok()
    repository("doctor", "--repair").ok()
    return repository


def test_the_contract(busy: Repository) -> None:
    events = busy.json("audit")
    assert [list(event) for event in events] == [FIELDS] * len(events)
    assert [(event["operation"], event["target"], event["reason"]) for event in events[:11]] == [
        ("init", str(busy.root), ""),
        ("create", "main@1", "first"),
        ("push", "main@2", "second"),
        ("create", "side@1", ""),
        ("delete", "side@2", "not wanted"),
        ("tag.delete", "t", ""),
        ("lock.acquire", "main", "why not"),
        ("lock.release", "main", "why not"),
        ("ref", "v1", "sold"),
        ("unref", "v1", "bought back"),
        ("pin", busy.json("history")[0]["payload_root_hash"], "cited"),
    ]
    assert "gc" in {event["operation"] for event in events[11:]}
    assert {event["actor"] for event in events} <= {"ada@host", "doctor"}
    assert [event["event_id"] for event in events] == [str(number) for number in range(len(events))]
    assert events[0]["prev_hash"] == "0" * 64
    for before, after in pairwise(events):
        assert after["prev_hash"] == before["record_hash"]
        assert after["timestamp"] >= before["timestamp"]
    whole = busy.json("audit", "--verify")
    assert whole == {"chain_valid": True, "records": len(events), "head_hash": events[-1]["record_hash"]}
    assert busy("audit", "--verify").ok().out.startswith("Audit chain OK: ")
    people = busy("audit").ok().out.splitlines()
    assert len(people) == len(events)
    assert "main@2" in people[2]


def test_a_part_of_it(busy: Repository) -> None:
    events = busy.json("audit")
    assert busy.json("audit", "-n", "3") == events[-3:]
    assert busy.json("audit", "-n", "0") == events
    assert busy.json("audit", "-n", "1000") == events
    assert busy.json("audit", "--since", "1h") == events
    time.sleep(0.05)
    busy.write("a", "later")
    busy.save("later")
    assert [event["reason"] for event in busy.json("audit", "--since", "1 second ago", "-n", "1")] == ["later"]
    assert busy.json("audit", "--since", "2100-01-01") == []
    assert busy("audit", "--since", "whenever").status == 2


@pytest.fixture
def long(busy: Repository) -> Repository:
    """So many more records that the index has copies of the last of them only."""
    for _ in range(2):
        with Repo.open(str(busy.control), actor="ada@host") as repo:
            for number in range(64):
                repo.labels.record_act("test", str(number))
    return busy


def broken(repository: Repository) -> None:
    """The audit says so, for people and programs."""
    done = repository("audit", "--verify", "--json")
    assert (done.status, done.value["error"]["error_code"]) == (8, "E_AUDIT_CHAIN_BROKEN")
    people = repository("audit", "--verify")
    assert (people.status, people.out) == (8, "")
    assert "(E_AUDIT_CHAIN_BROKEN)" in people.err


def test_what_the_index_has_a_copy_of_is_put_back(long: Repository) -> None:
    journal = long.control / "journal"
    data = journal.read_bytes()
    journal.write_bytes(data[:-1])
    long("audit", "--verify").ok()
    assert journal.read_bytes() == data


@pytest.mark.parametrize("kept", ["all before a record", "half", "nothing"])
def test_a_tail_that_was_cut_off_is_missed(long: Repository, kept: str) -> None:
    """All before a record: a chain that is sound in itself, and ends too early."""
    journal = long.control / "journal"
    data = journal.read_bytes()
    journal.write_bytes(data[: {"all before a record": data.index(b"jvsJ", 500), "half": 1234, "nothing": 0}[kept]])
    broken(long)


def test_a_record_that_was_changed_breaks_the_chain(long: Repository) -> None:
    journal = long.control / "journal"
    data = bytearray(journal.read_bytes())
    data[data.index(b"not wanted")] ^= 1
    journal.write_bytes(data)
    broken(long)
    shown = long("audit", "--json")
    assert shown.status == 8
    assert shown.value[-1]["error"]["code"] == "journal-damaged"
    assert len(shown.value) == 5
    assert long("doctor").status == 8


def test_a_record_that_was_taken_out_breaks_the_chain(long: Repository) -> None:
    journal = long.control / "journal"
    data = journal.read_bytes()
    frames = [at for at in range(2000) if data.startswith(b"jvsJ", at)]
    journal.write_bytes(data[: frames[2]] + data[frames[3] :])
    broken(long)
