"""Random histories against a model a page long; each is then replayed from its journal into an empty store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jvs.castore.backend import Kind, WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.memory import MemoryStore
from jvs.errors import JvsError, UnknownError
from jvs.labels import ANYTHING, Entry, Expect
from jvs.labels.replay import replay
from jvs.labels.tables import ALL_TABLES
from tests.labels.support import Desk

NAMES = ["a", "a/b", "ab", "b"]
CONTENTS = ["s0", "s1", "s2"]
TAGS = ["t0", "t1"]

picks = st.integers(0, 99)
contents = st.sampled_from(CONTENTS)


class Step(NamedTuple):
    """One entry, as the model sees it."""

    generation: int
    op: str
    to: str | None
    renamed_from: str | None = None


class Label:
    """One label of the model, across its names."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @property
    def content(self) -> str:
        """What it points to, or pointed to when it was deleted."""
        return next(step.to for step in reversed(self.steps) if step.to is not None)


class LabelMachine(RuleBasedStateMachine):
    """The store and the model do the same and must agree, also about what is refused and why."""

    @initialize()
    def start(self) -> None:
        self.desk = Desk()
        self.digests = {name: self.desk.snapshot(name) for name in CONTENTS}
        self.live: dict[str, Label] = {}
        self.dead: list[tuple[str, Label]] = []
        self.used: dict[str, int] = {}
        self.tagged: dict[str, list[Digest]] = {}
        for name in ("a", "b", "ab"):
            self.push(99 - NAMES.index(name), "s0", "absent", [])

    def pick(self, number: int, likely: Iterable[str]) -> str:
        """A name: mostly one for which the step is possible."""
        pool = sorted(likely)
        return pool[number % len(pool)] if pool and number < 80 else NAMES[(99 - number) % len(NAMES)]

    # the model's rules

    def clash(self, name: str, leaving: str | None = None) -> bool:
        taken = {other for other in self.live if other != leaving} | {other for other, _label in self.dead}
        return any(name.startswith(other + "/") or other.startswith(name + "/") for other in taken)

    def step(self, label: Label, name: str, op: str, to: str | None, renamed_from: str | None = None) -> None:
        newest = label.steps[-1].generation if label.steps else 0
        generation = max(newest, self.used.get(name, 0)) + 1
        label.steps.append(Step(generation, op, to, renamed_from))
        self.used[name] = generation

    def attempt(self, call: Callable[[], Entry], refused: str | None) -> Entry | None:
        """Run it; it must be refused exactly as the model says."""
        entry, code = None, None
        try:
            entry = call()
        except JvsError as error:
            code = error.code
        assert code == refused
        return entry

    def expectation(self, name: str, kind: str) -> tuple[Expect, bool]:
        """An expectation about a label, and whether it is met."""
        label = self.live.get(name)
        if kind == "anything":
            return ANYTHING, True
        if kind == "absent":
            return None, label is None
        if label is None:
            return 3, False
        steps = label.steps
        if kind == "generation":
            return steps[-1].generation, True
        if kind == "stale":
            return steps[-1].generation - 1, False
        if kind == "content":
            return self.digests[label.content], True
        return self.desk.labels.resolve(name).parents[0], True

    # what happens

    @rule(
        pick=picks,
        content=contents,
        kind=st.sampled_from(["anything", "absent", "generation", "stale", "content", "entry"]),
        tags=st.lists(st.sampled_from(TAGS), max_size=2),
    )
    def push(self, pick: int, content: str, kind: str, tags: list[str]) -> None:
        name = self.pick(pick, self.live)
        expect, met = self.expectation(name, kind)
        label = self.live.get(name)
        refused = None
        if not met:
            refused = "label-moved"
        elif label is None and self.clash(name):
            refused = "bad-label-name"
        entry = self.attempt(
            lambda: self.desk.labels.compare_and_set(name, expect, self.digests[content], tags=tags), refused
        )
        if entry is not None:
            self.step(self.live.setdefault(name, Label()), name, "create" if label is None else "push", content)
            for tag in set(tags):
                self.tagged.setdefault(tag, []).append(entry.id)

    # One rule for these, so that hypothesis never leaves most of them out of a run.
    @rule(
        what=st.sampled_from(["reset", "delete", "undelete", "rename", "undo", "create"]),
        pick=picks,
        other=st.sampled_from(NAMES),
        content=contents,
    )
    def something_else(self, what: str, pick: int, other: str, content: str) -> None:
        dead = [name for name, _label in self.dead]
        if what == "reset":
            self.reset(self.pick(pick, self.live), content)
        elif what == "delete":
            self.delete(self.pick(pick, self.live))
        elif what == "undelete":
            self.undelete(self.pick(pick, dead))
        elif what == "rename":
            self.rename(self.pick(pick, self.live), other)
        elif what == "undo":
            self.undo(self.pick(pick, [*self.live, *dead]))
        else:
            self.push(99 - NAMES.index(other), content, "absent", [])

    def reset(self, name: str, content: str) -> None:
        label = self.live.get(name)
        refused = None
        if label is None:
            refused = "unknown-label"
        elif content not in {step.to for step in label.steps}:
            refused = "not-in-reflog"
        if self.attempt(lambda: self.desk.labels.reset(name, self.digests[content]), refused) and label is not None:
            self.step(label, name, "reset", content)

    def delete(self, name: str) -> None:
        refused = None if name in self.live else "unknown-label"
        if self.attempt(lambda: self.desk.labels.delete(name), refused):
            self.model_delete(name)

    def undelete(self, name: str) -> None:
        dead = [label for other, label in self.dead if other == name]
        refused = "already-exists" if name in self.live else None if dead else "unknown-label"
        if self.attempt(lambda: self.desk.labels.undelete(name), refused):
            self.model_undelete(name)

    def rename(self, old: str, new: str) -> None:
        refused = self.rename_refusal(old, new)
        if self.attempt(lambda: self.desk.labels.rename(old, new), refused):
            self.model_rename(old, new)

    def undo(self, name: str) -> None:
        label = self.live.get(name)
        dead = [found for other, found in self.dead if other == name]
        newest = label.steps[-1] if label is not None else None
        former = newest.renamed_from if newest is not None else None
        refused = None
        if label is None and not dead:
            refused = "unknown-label"
        elif former is not None:
            refused = self.rename_refusal(name, former)
        if not self.attempt(lambda: self.desk.labels.undo(name), refused):
            return
        if label is None:
            self.model_undelete(name)
        elif former is not None:
            self.model_rename(name, former)
        elif len(label.steps) == 1 or newest is None or newest.op == "undelete":
            self.model_delete(name)
        else:
            self.step(label, name, "reset", label.steps[-2].to)

    @rule(tag=st.sampled_from(TAGS))
    def delete_tag(self, tag: str) -> None:
        if self.tagged.pop(tag, None):
            self.desk.labels.delete_tag(tag)
        else:
            with pytest.raises(UnknownError):
                self.desk.labels.delete_tag(tag)

    @rule(content=contents)
    def detach(self, content: str) -> None:
        self.desk.labels.record_detached(self.digests[content])

    @rule(change=st.integers(-5000, 5000))
    def time_passes(self, change: int) -> None:
        self.desk.clock.now_ms += change

    def rename_refusal(self, old: str, new: str) -> str | None:
        if old not in self.live:
            return "unknown-label"
        if new in self.live:
            return "already-exists"
        return "bad-label-name" if self.clash(new, leaving=old) else None

    def model_delete(self, name: str) -> None:
        label = self.live.pop(name)
        self.step(label, name, "delete", None)
        self.dead.append((name, label))

    def model_undelete(self, name: str) -> None:
        newest = max(index for index, (other, _label) in enumerate(self.dead) if other == name)
        label = self.dead.pop(newest)[1]
        self.step(label, name, "undelete", label.content)
        self.live[name] = label

    def model_rename(self, old: str, new: str) -> None:
        label = self.live.pop(old)
        self.step(label, new, "rename", label.content, renamed_from=old)
        self.live[new] = label

    # what must hold

    @invariant()
    def the_lists_agree(self) -> None:
        shown = [(info.name, info.generation, info.ca_id) for info in self.desk.labels.list()]
        expected = [(n, lb.steps[-1].generation, self.digests[lb.content]) for n, lb in self.live.items()]
        assert shown == sorted(expected)
        assert list(self.desk.labels.tags()) == sorted(self.tagged)
        for tag, entries in self.tagged.items():
            assert self.desk.labels.tag(tag).id == entries[-1]

    @invariant()
    def the_reflogs_agree(self) -> None:
        for name, label in self.live.items():
            log = list(self.desk.labels.log(name, newest_first=False))
            assert [(entry.generation, entry.op, entry.to) for entry in log] == [
                (step.generation, step.op, None if step.to is None else self.digests[step.to]) for step in label.steps
            ]
            assert all(earlier.at_ms <= later.at_ms for earlier, later in pairwise(log))
            for back, step in enumerate(reversed(label.steps)):
                if step.to is not None:
                    assert self.desk.labels.resolve(f"{name}@{{{back}}}").generation == step.generation
        entries = sum(len(label.steps) for label in [*self.live.values(), *(label for _name, label in self.dead)])
        assert self.desk.labels.verify() == entries

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            check_replay(self.desk.store)


def tables_of(store: MemoryStore) -> dict[str, list[tuple[bytes, bytes]]]:
    """Everything in the label tables."""
    with store.read() as txn:
        return {table.name: list(txn.scan(table)) for table in ALL_TABLES}


def check_replay(store: MemoryStore) -> None:
    """The journal alone gives the same tables, and names every root."""
    again = MemoryStore()
    with again.write() as txn:
        roots = set(_replayed(txn, store))
    assert tables_of(again) == tables_of(store)
    with store.read() as read:
        listed = {key[:32] for name in ("roots", "detached") for key, _value in tables_of(store)[name]}
        assert roots == listed
        assert all(read.info(Kind.PAGE, root) is not None for root in roots)


def _replayed(txn: WriteTxn, store: MemoryStore) -> list[Digest]:
    return list(replay(txn, store.journal_records()))


TestLabelMachine = LabelMachine.TestCase
TestLabelMachine.settings = settings(max_examples=80, stateful_step_count=60)
