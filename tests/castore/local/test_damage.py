"""Every bit of every file of a small store (DESIGN 12): noticed, or of no use to anybody."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.local.store import LocalStore
from tests.castore.local import driver, flipper

TORTURE = bool(os.environ.get("JVS_TORTURE"))
SAMPLE = 200
DEADLY = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("golden") / "store"
    for number in range(flipper.ROUNDS):
        with LocalStore.create(where) as store:
            driver.push(store, number)
    return where


def bits_of(golden: Path) -> list[tuple[str, int]]:
    """Every (file, bit), of unused slots of `committed` some; without JVS_TORTURE a sample, half from the index."""
    files = {
        str(path.relative_to(golden)): path.stat().st_size
        for path in sorted(golden.rglob("*"))
        if path.is_file() and path.name not in ("lock.mdb", "reserve")  # nothing is kept in these
    }
    if TORTURE:
        used = 8 * 16 * 40
        return [
            (name, bit)
            for name, size in files.items()
            for bit in range(8 * size)
            if name != "committed" or bit < used or bit >= 8 * (size - 16) or bit % 61 == 0
        ]
    chance = random.Random(7)
    names = [*files, *["index/data.mdb"] * len(files)]
    names = [name for name in names if files[name]]
    return [(name, chance.randrange(8 * files[name])) for name in chance.choices(names, k=SAMPLE)]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A place for copies; in memory where there is such a place, since every flip commits several times."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.mark.parametrize("mode", ["touched", "rot"])
@pytest.mark.timeout(20_000)
def test_every_bit(mode: str, golden: Path, scratch: Path) -> None:
    """No operation returns wrong bytes, and what an operation meets verification names."""
    left = bits_of(golden)
    results: Counter[str] = Counter()
    wrong: list[str] = []
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    while left:
        shutil.rmtree(scratch / "copy", ignore_errors=True)
        ended = subprocess.run(
            [sys.executable, flipper.__file__, str(golden), str(scratch), mode],
            input="".join(f"{name} {bit}\n" for name, bit in left),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        lines = ended.stdout.splitlines()
        for line in lines:
            result = line.split(" ", 2)[2]
            results[result.split(":")[0]] += 1
            if result not in ("refused", "found", "healed"):
                wrong.append(line)
        if ended.returncode:
            # Damage can end the process that maps it. Where it left a trace that is a child, which looks first; where
            # it did not, the next process looks first, because this one did not end cleanly.
            at = left[len(lines)]
            assert ended.returncode in DEADLY, f"{at}: {ended.stderr}"
            copy = scratch / "copy"
            if mode == "touched":
                shutil.rmtree(copy)
                shutil.copytree(golden, copy)
                flipper.flip(copy, *at)
            opened = subprocess.run(
                [sys.executable, driver.__file__, str(copy), "0", "0", "0"],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": paths},
            )
            assert (opened.returncode, opened.stderr[:13]) == (7, "index-damaged"), f"{at}: {opened.stderr}"
            results["killed"] += 1
            lines.append("")
        left = left[len(lines) :]
    print(mode, dict(results))
    assert wrong == []
    assert results["found"] + results["refused"] > SAMPLE // 10
