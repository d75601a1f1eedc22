"""Flips bits of a store, one at a time, and says whether anything believed them. Run by `test_damage`.

    flipper.py GOLDEN SCRATCH (rot|touched)      with lines `FILE BIT` on stdin; a line `FILE BIT RESULT` each on stdout

GOLDEN is a closed store of `driver` rounds 0 to 2, SCRATCH a directory for copies of it. `rot` leaves no trace in the
file's times, as a failing disk does; `touched` changes them, and the index is examined before it is opened.
RESULT: `refused` (it does not open), `found` (an operation met it, and verification names it), `healed` (nothing met
it and verification names it, or nothing does because nothing uses that bit), or a description of what was wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import lmdb.verify

from jvs.castore.local import env, probe, verify
from jvs.castore.local.store import LocalStore
from jvs.castore.local.walk import walk_index
from jvs.errors import JvsError
from tests.castore.local import driver
from tests.castore.local.checks import labels_of, moves_of

ROUNDS = 3


def examine(path: str, *, quick: bool = False) -> list[str]:
    """`env.probe` without the child: this process may die, its parent watches."""
    status = os.stat(path)
    if (status.st_dev, status.st_ino) not in env._registry:
        return list(probe.examine(path, quick=quick))
    problems = lmdb.verify.verify(path)  # type: ignore[no-untyped-call]
    if not problems:  # it is open, and may not be opened a second time
        opened = env.acquire(path, readonly=False)
        txn = opened.begin(write=False)
        problems = [damage.reason for damage in walk_index(txn)]
        txn.abort()
        opened.active.discard(txn)
        opened.release()
    return list(problems)


def flip(store: Path, name: str, bit: int) -> None:
    with open(store / name, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes((byte ^ 1 << bit % 8,)))


def judge(where: Path) -> str:
    """Use the store in every way; see the module's docstring."""
    try:
        store = LocalStore.open(where)
    except JvsError:
        return "refused"
    with store:
        met = look(store)
        try:
            driver.push(store, 50)
        except JvsError as error:
            met = f"{met} {error.code}"
        met += look(store)
        if met.startswith("WRONG"):
            return met
        findings = list(verify.verify_store(store))
        return "found" if findings else f"WRONG: not named by verify: {met}" if met.strip() else "healed"


def look(store: LocalStore) -> str:
    """Read everything: "" when all is as it was, the codes of the errors met, or WRONG and what was believed."""
    met = []
    for number in range(ROUNDS):
        for kind, key, stored, _ in driver.tree(number):
            try:
                if store.get(kind, key) != stored:
                    return f"WRONG: {kind.name} {key.hex()} read differently"
            except JvsError as error:
                met.append(error.code)
    wanted = {b"r%d" % number: driver.tree(number)[-1][1] for number in range(ROUNDS)}
    try:
        labels = labels_of(store)
        labels.pop(b"r50", None)
        if labels != wanted:
            return "WRONG: the labels differ"
    except JvsError as error:
        met.append(error.code)
    try:
        moves = moves_of(list(store.journal_records()))
        moves.pop(b"r50", None)
        if moves != wanted:
            return "WRONG: the journal differs"
    except JvsError as error:
        met.append(error.code)
    return " ".join(met)


def main() -> None:
    golden, scratch, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    env.probe = examine
    for line in sys.stdin:
        name, bit = line.split()
        where = scratch / "copy"
        shutil.copytree(golden, where)
        flip(where, name, int(bit))
        if mode == "rot":
            index = str(where / "index")
            if name != "index/users":
                (where / "index" / "users").write_bytes(env._clean_note(index).encode())
        result = judge(where)
        os.write(1, f"{name} {bit} {result}\n".encode())
        shutil.rmtree(where)


if __name__ == "__main__":
    main()
