"""Merge bases and ancestry, against a brute-force oracle on random histories."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.castore.backend import ReadTxn, Table
from jvs.castore.digest import Digest, page_digest
from jvs.errors import CollectedError
from jvs.labels import ANYTHING, bases
from jvs.labels.lineage import is_ancestor, merge_bases
from jvs.labels.tables import IDS, head_of
from tests.labels.support import Desk


class History:
    """A graph of entries, built through the label store, and what is known of it without reading it back."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.content = self.desk.snapshot("x")
        self.parents: dict[Digest, tuple[Digest, ...]] = {}

    def add(self, *parents: Digest, label: str = "main") -> Digest:
        entry = self.desk.labels.compare_and_set(label, ANYTHING, self.content, op="merge", parents=parents)
        self.parents[entry.id] = parents
        return entry.id

    def ancestors(self, entry_id: Digest) -> set[Digest]:
        """Every entry it came from, itself included."""
        found, waiting = set(), [entry_id]
        while waiting:
            entry = waiting.pop()
            if entry not in found:
                found.add(entry)
                waiting.extend(self.parents[entry])
        return found

    def expected_bases(self, left: Digest, right: Digest) -> set[Digest]:
        """Common ancestors that no other common ancestor came from."""
        common = self.ancestors(left) & self.ancestors(right)
        return {entry for entry in common if not any(entry in self.ancestors(o) for o in common - {entry})}

    def bases(self, left: Digest, right: Digest) -> list[Digest]:
        return list(self.desk.labels.merge_bases(left, right))


@given(st.integers(1, 25), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_bases_and_ancestry_are_the_oracles(size: int, rng: random.Random) -> None:
    history, entries = History(), list[Digest]()
    for _ in range(size):
        parents = rng.sample(entries, min(len(entries), rng.choice([0, 1, 1, 1, 2, 2, 3])))
        entries.append(history.add(*parents, label=rng.choice("abc")))
    for _ in range(20):
        left, right = rng.choice(entries), rng.choice(entries)
        bases = history.bases(left, right)
        assert set(bases) == history.expected_bases(left, right)
        assert len(bases) == len(set(bases))
        assert bases == history.bases(right, left)
        assert history.desk.labels.is_ancestor(left, right) == (left in history.ancestors(right))


def test_a_plain_fork() -> None:
    history = History()
    base = history.add(history.add())
    left = history.add(history.add(base))
    right = history.add(base, label="work")
    assert history.bases(left, right) == [base]
    assert history.bases(left, base) == [base]
    assert history.bases(left, left) == [left]


def test_a_criss_cross_has_two_bases() -> None:
    history = History()
    root = history.add()
    a, b = history.add(root), history.add(root, label="b")
    left, right = history.add(a, b), history.add(b, a, label="b")
    assert set(history.bases(left, right)) == {a, b}


def test_unrelated_contents_have_no_base() -> None:
    history = History()
    left, right = history.add(history.add()), history.add(label="b")
    assert history.bases(left, right) == []
    assert not history.desk.labels.is_ancestor(right, left)


def test_entries_skipped_by_a_reset_are_no_ancestors() -> None:
    desk = Desk()
    labels = desk.labels
    first = labels.compare_and_set("main", None, desk.snapshot("a"))
    skipped = labels.compare_and_set("main", 1, desk.snapshot("b"))
    labels.reset("main", first.id)
    after = labels.compare_and_set("main", 3, desk.snapshot("c"))
    assert not labels.is_ancestor(skipped.id, after.id)
    assert labels.is_ancestor(first.id, after.id)
    assert list(labels.merge_bases(skipped.id, after.id)) == [first.id]


def test_a_deletion_is_nobodys_base() -> None:
    desk = Desk()
    labels = desk.labels
    first = labels.compare_and_set("main", None, desk.snapshot("a"))
    work = labels.compare_and_set("work", None, desk.snapshot("a"), parents=[first.id])
    labels.delete("main")
    back = labels.undelete("main")
    assert list(labels.merge_bases(work.id, back.id)) == [first.id]


class CountingTxn:
    """A read transaction that counts the entries looked up by id."""

    def __init__(self, txn: ReadTxn) -> None:
        self._txn = txn
        self.entries = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        self.entries += table == IDS
        return self._txn.get(table, key)

    def __getattr__(self, name: str) -> object:
        return getattr(self._txn, name)


def test_the_search_reads_only_what_came_after_the_fork() -> None:
    history = History()
    tip = history.add()
    for _ in range(300):
        tip = history.add(tip)
    left = right = tip
    for _ in range(5):
        left, right = history.add(left), history.add(right, label="work")
    with history.desk.store.read() as txn:
        counting = CountingTxn(txn)
        assert merge_bases(counting, left, right) == [tip]  # type: ignore[arg-type]
        assert counting.entries <= 2 * 5 + 2
        counting.entries = 0
        assert is_ancestor(counting, tip, right)  # type: ignore[arg-type]
        assert not is_ancestor(counting, left, right)  # type: ignore[arg-type]
        assert counting.entries <= 2 * 5 + 6


def test_history_that_is_no_longer_kept_is_said_never_passed_over() -> None:
    history = History()
    base = history.add()
    left, right = history.add(base), history.add(base, label="work")
    with history.desk.store.write() as txn:
        txn.delete(IDS, base)
    with pytest.raises(CollectedError):
        history.bases(left, right)
    with pytest.raises(CollectedError):
        history.bases(left, page_digest(b"no entry"))


@given(st.integers(1, 40), st.randoms(use_true_random=False), st.sampled_from([1000, 3]))
@settings(max_examples=100)
def test_the_collectors_bases_are_the_merge_bases(size: int, rng: random.Random, walked: int) -> None:
    """Mostly plain chains and forks off them, as there are, and sometimes anything."""
    history, newest = History(), dict[str, Digest]()
    for _ in range(size):
        label = rng.choice("abcde")
        parents = [newest[label]] if label in newest else []
        if label not in newest or rng.random() < 0.15:
            others = [entry for entry in history.parents if entry not in parents]
            parents += rng.sample(others, min(len(others), rng.choice([1, 1, 2])))
        newest[label] = history.add(*parents, label=label)
    with pytest.MonkeyPatch.context() as patch, history.desk.store.read() as txn:
        patch.setattr(bases, "WALKED", walked)
        asked = bases.Bases(txn)
        for info in history.desk.labels.list():
            head = head_of(txn, info.name)
            assert head is not None
            expected = set() if info.upstream is None else {*merge_bases(txn, head.entry_id, newest[info.upstream])}
            assert set(asked.of(head)) == expected


def test_many_branches_of_one_label_are_told_their_bases_in_one_walk() -> None:
    history = History()
    tip = history.add()
    forks = {}
    for number in range(200):
        tip = history.add(tip)
        if number % 10 == 0:
            forks[f"b{number}"] = tip
            history.add(history.add(tip, label=f"b{number}"), label=f"b{number}")
    with history.desk.store.read() as txn:
        counting = CountingTxn(txn)
        asked = bases.Bases(counting)  # type: ignore[arg-type]
        for label, fork in forks.items():
            head = head_of(txn, label)
            assert head is not None
            assert asked.of(head) == [fork]
        assert counting.entries <= 6 * len(forks)
