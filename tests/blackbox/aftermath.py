"""What must hold of a store after whatever happened to a push, asked by commands and by replaying the journal."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from devtools.demo import Tree, fingerprint
from jvs.castore.local.store import LocalStore
from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session
from tests.labels.test_replay import rebuild, tables


class Push(NamedTuple):
    """A move of `main`: the snapshot, and the tree that was pushed."""

    ca_id: str
    tree: Tree


def log_of(jvs: Jvs | Session, label: str = "main") -> list[dict[str, Any]]:
    """The entries of a label, oldest first, known to be chained; [] when there is no such label."""
    done = jvs("fs", "log", label, "--json")
    if done.status == 5:
        assert done.value["error"]["code"] == "unknown-label", done.out
        return []
    log: list[dict[str, Any]] = done.ok().value["log"]
    check_chain(log)
    return log


def check_chain(log: list[dict[str, Any]]) -> None:
    """Generations without a gap, each entry on top of the one before it."""
    assert [entry["generation"] for entry in log] == list(range(1, len(log) + 1))
    assert [entry["from"] for entry in log] == [None, *(entry["to"] for entry in log[:-1])]
    assert [entry["prev"] for entry in log] == [None, *(entry["entry_id"] for entry in log[:-1])]
    assert len({entry["entry_id"] for entry in log}) == len(log)


def check_journal(where: Path) -> None:
    """The journal alone says of labels exactly what the index of the store in `where` says."""
    with LocalStore.open(str(where / ".jvs")) as store:
        replayed, _roots = rebuild(list(store.journal_records()))
        assert tables(replayed) == tables(store)


def check_store(jvs: Session, expected: Iterable[Push]) -> None:
    """`main` has exactly these moves, each comes back byte for byte, and nothing at all is wrong with the store."""
    pushes = list(expected)
    log = log_of(jvs)
    assert [entry["to"] for entry in log] == [push.ca_id for push in pushes]
    check_journal(jvs.where)
    verified = jvs("fs", "verify", "--all", "--json")
    assert verified.status == 0, verified.out
    examined = jvs("doctor", "--json")
    assert examined.status == 0, examined.out
    into = jvs.where / "read-back"
    for generation, push in enumerate(pushes, start=1):
        pull_anew(jvs, f"main@{generation}", into)
        assert fingerprint(into) == push.tree


def pull_anew(jvs: Jvs | Session, revision: str, into: Path) -> None:
    """Pull into a directory that does not exist yet."""
    shutil.rmtree(into, ignore_errors=True)
    jvs("fs", "pull", revision, into.name).ok()
