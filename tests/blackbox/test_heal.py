"""Damage and repair as people meet them: commands, exit statuses, JSON; killed repairs; repairs beside work."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devtools.demo import Tree, fingerprint
from tests.blackbox.conftest import Done, Jvs
from tests.blackbox.session import Session
from tests.blackbox.test_durability import calls, needs_strace, traced
from tests.conftest import TORTURE

KILLED_AT = 3
"""System calls at which a repair is killed; all in the long form."""


class Ground(NamedTuple):
    """A directory `d` that was pushed twice as main into `.jvs`, a sound copy of that store, and what main is."""

    jvs: Jvs
    copy: Path
    tree: Tree

    @property
    def store(self) -> Path:
        return self.jvs.where / ".jvs"

    def restore(self) -> None:
        """Make the store what it was."""
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.copytree(self.copy, self.store, ignore=shutil.ignore_patterns("lock.mdb"))

    def rot(self, seed: int, bits: int = 12) -> None:
        """Turn bits of the packs."""
        chance = random.Random(seed)
        packs = sorted((self.store / "packs").iterdir())
        for _ in range(bits):
            pack = chance.choice(packs)
            with open(pack, "r+b") as file:
                place = chance.randrange(40, pack.stat().st_size)
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes((byte ^ 1 << chance.randrange(8),)))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Iterator[Ground]:
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else str(tmp_path_factory.mktemp("heal"))
    with tempfile.TemporaryDirectory(dir=memory) as name:
        jvs = Jvs(Path(name), bytecode)
        noise = random.Random(3)
        tree = jvs.where / "d"
        (tree / "below").mkdir(parents=True)
        for number in range(20):
            (tree / "below" / f"small{number}").write_bytes(noise.randbytes(150).hex().encode())
        (tree / "large").write_bytes(noise.randbytes(20_000))
        jvs("fs", "init", "--chunk", "256:1024:4096", "--inline", "512").ok()
        jvs("fs", "push", "d", "--label", "main").ok()
        (tree / "below" / "small3").write_text("changed\n")
        jvs("fs", "push", "d").ok()
        copy = jvs.where / "kept"
        shutil.copytree(jvs.where / ".jvs", copy, ignore=shutil.ignore_patterns("lock.mdb"))
        yield Ground(jvs, copy, fingerprint(tree))


def check_healed(ground: Ground, run: Jvs | Session) -> None:
    """Everything is as it was, and goes on."""
    assert run.json("fs", "verify", "--all")["ok"]
    into = ground.jvs.where / "into"
    shutil.rmtree(into, ignore_errors=True)
    run("fs", "pull", "main", into, "--json").ok()
    assert fingerprint(into) == ground.tree
    assert run.json("fs", "gc", "run")["done"]
    assert run.json("doctor", "--strict")["healthy"]


def test_from_finding_to_healing(ground: Ground) -> None:
    """verify says so, doctor says so, repair from a copy mends it, and each exit status says which."""
    ground.restore()
    ground.rot(1)
    jvs = ground.jvs
    with Session(jvs) as session:
        damaged = session("fs", "verify", "--all", "--json")
        assert damaged.status == 8
        assert "doctor --repair" in damaged.value["error"]["next"]
        found = session("doctor", "--strict", "--json")
        assert (found.status, found.value["healthy"]) == (8, False)
        assert found.value["error"]["code"] == "damaged"
        assert found.value["affected_snapshots"] >= 1
        assert any(place.startswith("main:") for place in found.value["affected"])
        for finding in found.value["findings"]:
            assert finding["severity"] in ("error", "warning", "info")
            assert not finding["repaired"]
    mended = jvs("doctor", "--repair", "--from", "kept", "--json").ok().value
    assert mended["healthy"]
    assert mended["affected"] == []
    assert sum(finding["repaired"] for finding in mended["findings"]) >= 3
    with Session(jvs) as session:
        check_healed(ground, session)


def test_a_directory_heals_its_label(ground: Ground) -> None:
    """Without a copy: the directory that was pushed is enough for what its label has."""
    ground.restore()
    ground.rot(2, 40)
    with Session(ground.jvs) as session:
        session("doctor", "--repair")
        assert session.json("fs", "verify", "main")["ok"]
        assert session.json("fs", "gc", "run")["done"]
        assert session.json("fs", "verify", "main")["ok"]


def test_what_is_given_up_is_named(ground: Ground) -> None:
    """Exit 8 as long as a snapshot needs it; people see which files."""
    ground.restore()
    ground.rot(3, 60)
    away = ground.jvs.where / "away"
    (ground.jvs.where / "d").rename(away)
    try:
        with Session(ground.jvs) as session:
            done = session("doctor", "--repair")
            assert done.status == 8
            assert "main:" in done.out
            assert "affected: " in done.out
            assert "next: jvs doctor --repair --from STORE" in done.err
            assert session("doctor").status == 8
            assert session.json("fs", "gc", "run")["done"]
            assert session("fs", "verify", "--all").status == 8
            assert list((ground.store / "quarantine").iterdir())
            assert session("doctor", "--repair", "--from", "kept").status == 0
            check_healed(ground, session)
    finally:
        away.rename(ground.jvs.where / "d")


def test_words(ground: Ground) -> None:
    ground.restore()
    with Session(ground.jvs) as session:
        for words, code in [
            (("doctor", "--from", "kept"), 2),
            (("doctor", "--repair", "--from", "nowhere"), 10),
            (("doctor", "--repair", "--from", "d"), 10),
            (("fs", "verify", "main", "--sample", "10%"), 2),
            (("fs", "verify", "--seed", "1"), 2),
            (("fs", "verify", "--sample", "0%"), 2),
            (("fs", "verify", "--sample", "101%"), 2),
            (("fs", "verify", "--sample", "x"), 2),
            (("fs", "verify", "--sample", "5%", "--seed", "a b"), 2),
        ]:
            done = session(*words, "--json")
            assert done.status == code, (words, done.out)
            assert done.value["error"]["next"]


def test_samples(ground: Ground) -> None:
    """The same seed takes the same objects, shares add up, and every object is in some sample."""
    ground.restore()
    with Session(ground.jvs) as session:
        everything = session.json("fs", "verify", "--all")
        assert "sample" not in everything
        half = session.json("fs", "verify", "--sample", "50%", "--seed", "one")
        assert half == session.json("fs", "verify", "--sample", "50%", "--seed", "one")
        assert half["sample"] == {"percent": 50.0, "seed": "one"}
        assert 0 < half["checked"] < everything["checked"]
        assert session.json("fs", "verify", "--sample", "100%")["checked"] == everything["checked"]
        chosen = session.json("fs", "verify", "--sample", "30")["sample"]["seed"]
        assert f"--seed {chosen}" in session("fs", "verify", "--sample", "30", "--seed", chosen).out
        ground.rot(4, 60)
        found = [session("fs", "verify", "--sample", "40%", "--seed", str(seed)).status for seed in range(6)]
        assert set(found) <= {0, 8}
        assert 8 in found


@needs_strace
@pytest.mark.timeout(7_200)
def test_a_repair_killed_at_any_write(ground: Ground) -> None:
    """The next one goes on; nothing that a copy has is missing then, and nothing is lost before."""
    jvs = ground.jvs
    ground.restore()
    ground.rot(5, 20)
    broken = jvs.where / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(ground.store, broken)
    words = ["doctor", "--repair", "--from", "kept"]
    killed = 0
    for call, number in calls(jvs, words, KILLED_AT, seed=2):
        shutil.rmtree(ground.store)
        shutil.copytree(broken, ground.store, ignore=shutil.ignore_patterns("lock.mdb"))
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        done = traced(jvs, jvs.where / "trace", inject, *words)
        # a child that walks the index may be the one that was killed, which is said
        killed += done.status != 0
        assert done.status in (0, -signal.SIGKILL, 128 + signal.SIGKILL) or "signal 9 ended that" in done.err, done
        again = jvs(*words, "--json")  # a process of its own: neither store was closed
        assert again.status == 0, (call, number, again.out)
        with Session(jvs) as session:
            check_healed(ground, session)
    assert killed >= (1 if not TORTURE else 20)


def test_beside_pushes_and_collections(ground: Ground) -> None:
    """Repairs go on beside pushes, pulls and collectors; what was acknowledged is there."""
    ground.restore()
    ground.rot(6, 20)
    jvs = ground.jvs
    answers: list[Done] = []

    def work() -> None:
        tree = jvs.where / "other"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(jvs.where / "d", tree)
        with Session(jvs) as session:
            for number in range(6):
                (tree / "below" / f"new{number}").write_bytes(random.Random(number).randbytes(3_000))
                answers.append(session("fs", "push", "other", "--label", "other", "--force", "--json"))
                answers.append(session("fs", "gc", "run", "--json"))

    worker = threading.Thread(target=work)
    worker.start()
    with Session(jvs) as session:
        for _ in range(3):
            assert session("doctor", "--repair", "--from", "kept", "--json").status in (0, 8)
        worker.join()
        # beside damage a push or a collection may have met it; none of them may fail in another way
        for done in answers:
            assert done.status in (0, 8), done.out
        assert session("doctor", "--repair", "--from", "kept", "--json").status == 0
        check_healed(ground, session)
