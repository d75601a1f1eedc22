"""`jvs verify`: both layers, payload bytes included, and a status that no flag hides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blackbox.workspace.conftest import Repository

FIELDS = ["snapshot_id", "checksum_valid", "payload_hash_valid", "tamper_detected"]


def spoil(repository: Repository, text: bytes) -> None:
    """Change one byte of stored content, which is found by what it is: it must not be compressed."""
    for pack in (repository.control / "packs").iterdir():
        data = pack.read_bytes()
        if text in data:
            pack.write_bytes(data.replace(text, text[:-1] + bytes([text[-1] ^ 1])))
            return
    raise AssertionError("it is in no pack")


@pytest.fixture
def saved(repository: Repository) -> Repository:
    """Two snapshots; `second` is only in the newer one."""
    repository.write("first", "the first one, which stays as it is")
    repository.save("one", "--compress", "none")
    repository.write("second", "the second one, which somebody will change")
    repository.save("two", "--compress", "none", "--tag", "t")
    return repository


def test_a_snapshot_is_ok(saved: Repository) -> None:
    two = saved.json("history")[0]["snapshot_id"]
    assert saved("verify").ok().out.splitlines() == [f"{two}  OK", "Checksum: true", "Payload hash: true"]
    for target in (two, two[:12], "t", "two", "HEAD"):
        found = saved.json("verify", target)
        assert list(found) == FIELDS
        assert list(found.values()) == [two, True, True, False]
    assert saved("verify", "-q").ok().out == ""
    assert "OK" in saved("verify", two, cwd=saved.root).ok().out, "an id is one everywhere"


def test_all_are_ok(saved: Repository) -> None:
    ids = [one["snapshot_id"] for one in saved.json("history")]
    found = saved.json("verify", "--all")
    assert [one["snapshot_id"] for one in found] == ids
    assert all(list(one) == FIELDS and not one["tamper_detected"] for one in found)
    assert saved("verify", "--all").ok().out.splitlines() == [f"{one}  OK" for one in ids]


def test_all_of_nothing(repository: Repository) -> None:
    assert repository.json("verify", "--all") == []
    assert repository("verify").status == 5


def test_json_does_not_exit_0_on_tampering(saved: Repository) -> None:
    """A fault of the first JVS."""
    one, two = [point["snapshot_id"] for point in saved.json("history")][::-1]
    spoil(saved, b"somebody will change")
    done = saved("verify", two, "--json")
    assert done.status == 8
    found = done.value
    assert list(found) == [*FIELDS, "severity", "error"]
    assert (found["checksum_valid"], found["payload_hash_valid"], found["tamper_detected"]) == (True, False, True)
    assert found["severity"] == "critical"
    assert found["error"]["error_code"] == "E_PAYLOAD_HASH_MISMATCH"
    assert saved("verify", "--all", "--json").status == 8
    assert saved("verify", "--all", "-q").status == 8
    assert saved("verify", one, "--json").status == 0


def test_verify_all_does_not_skip_payloads(saved: Repository) -> None:
    """A fault of the first JVS."""
    one, two = [point["snapshot_id"] for point in saved.json("history")][::-1]
    spoil(saved, b"somebody will change")
    found = {item["snapshot_id"]: item for item in saved("verify", "--all", "--json").value}
    assert found[two]["tamper_detected"]
    assert "second" in found[two]["error"]["message"]
    assert not found[one]["tamper_detected"], "what does not need the damaged file is whole"
    said = saved("verify", "--all")
    assert said.status == 8
    assert f"{two}  TAMPERED" in said.out
    assert f"{one}  OK" in said.out
    assert saved("verify", "--all", "-q").out.split() == [two]
    assert "TAMPERED" in saved("verify").out


def test_a_snapshot_that_is_lost(saved: Repository) -> None:
    for pack in (saved.control / "packs").iterdir():
        pack.write_bytes(pack.read_bytes()[:64])
    for words in (["verify"], ["verify", "--all"]):
        done = saved(*words, "--json")
        assert done.status == 8
    found = saved("verify", "--all", "--json").value
    assert all(one["tamper_detected"] for one in found)


@pytest.mark.parametrize("level", ["none", "fast", "default", "max"])
def test_compressed_snapshots_do_not_verify_as_tampered(repository: Repository, level: str) -> None:
    """A fault of the first JVS."""
    repository.write("text", "compress me " * 50_000)
    (repository.main / "noise").write_bytes(bytes(range(256)) * 4096)
    repository.save("one", "--compress", level)
    repository.write("text", "compress me too " * 50_000)
    repository.save("two")
    assert not any(one["tamper_detected"] for one in repository.json("verify", "--all"))
    assert not repository.json("verify", "one")["tamper_detected"]


def test_an_autosave_is_verified_too(saved: Repository) -> None:
    saved.write("second", "not saved")
    saved("restore", "one").ok()
    assert len(saved.json("verify", "--all")) == 3
    assert saved.json("verify", "autosave/main")["payload_hash_valid"]


def test_bad_words(saved: Repository, tmp_path: Path) -> None:
    assert saved("verify", "x", "--all").status == 2
    assert saved("verify", "nothing-like-it").status == 5
    assert saved("verify", cwd=saved.root).status == 2, "which worktree?"
    assert saved("verify", cwd=tmp_path).status == 10


def test_an_export_is_not_the_truth(saved: Repository) -> None:
    two = saved.json("history")[0]["snapshot_id"]
    (saved.control / "descriptors" / f"{two}.json").write_text("{}")
    assert not saved.json("verify", two)["tamper_detected"]
