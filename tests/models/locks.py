"""Records that live while a lock file is flocked: pins, sessions, collectors (DESIGN 4.3 and 6).

One record and its lock file, under a random name that is never used again. A process that has been told that its
record is made counts on it until it ends; whoever finds the lock free takes the record for that of a dead process.
Every process may die at any step; its lock is free then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

RULES = {
    "lock before record": "the lock is taken before the record is written",
    "maker looks": "whoever made a lock file and locked it looks at its link count before writing the record",
    "resumer looks": "whoever takes over a record looks for it again when it has the lock",
    "reaper holds": "whoever removes a dead record holds the lock until the record is gone",
    "reaper looks": "whoever removes a lock file without a record looks for the record again when it has the lock",
    "record first": "the record goes before its lock file",
}

MAKE, LOCK, LOOK, WRITE, HOLD, FORGET, UNLINK, DONE = range(8)

# Whether the record is there; whether its lock file is linked; who holds its lock (0: nobody); where each process is.
State = tuple[int, int, int, tuple[int, ...]]
Step = tuple[str, State]
KINDS = ("maker", "resumer", "reaper")


@dataclass(frozen=True)
class Locks:
    """A model: one process of each of `kinds`. See `checker.Model`."""

    kinds: tuple[str, ...]
    without: frozenset[str] = frozenset()

    def initial(self) -> Iterator[State]:
        """Nothing is there; one who resumes or reaps waits until something is."""
        yield (0, 0, 0, tuple(MAKE if kind == "maker" else LOCK for kind in self.kinds))

    def steps(self, state: State) -> Iterator[Step]:
        """Every step of every process, and every crash."""
        for me, kind in enumerate(self.kinds):
            if state[3][me] == DONE:
                continue
            yield from getattr(self, f"_{kind}")(state, me)
            yield self._go(state, me, "dies", DONE)

    def _go(
        self,
        state: State,
        me: int,
        action: str,
        pc: int,
        *,
        record: int | None = None,
        linked: int | None = None,
        lock: bool | None = None,
    ) -> Step:
        """A step; whoever is done has closed its lock."""
        holder = state[2]
        if lock:
            holder = me + 1
        elif (lock is not None or pc == DONE) and holder == me + 1:
            holder = 0
        after = (
            state[0] if record is None else record,
            state[1] if linked is None else linked,
            holder,
            (*state[3][:me], pc, *state[3][me + 1 :]),
        )
        return f"{self.kinds[me]}: {action}", after

    def _maker(self, state: State, me: int) -> Iterator[Step]:
        _, linked, holder, procs = state
        pc, early = procs[me], "lock before record" in self.without
        if pc == MAKE:
            yield self._go(state, me, "make the lock file", WRITE if early else LOCK, linked=1)
        elif pc == LOCK and not holder:
            yield self._go(state, me, "lock", HOLD if early else LOOK, lock=True)
        elif pc == LOOK:
            if linked or "maker looks" in self.without:
                yield self._go(state, me, "the file is linked" if linked else "does not look", WRITE)
            else:
                yield self._go(state, me, "it was taken for a leftover", DONE)
        elif pc == WRITE:
            yield self._go(state, me, "write the record", LOCK if early else HOLD, record=1)
        elif pc in (HOLD, FORGET, UNLINK):
            yield from self._end(state, me)

    def _resumer(self, state: State, me: int) -> Iterator[Step]:
        record, linked, holder, procs = state
        pc = procs[me]
        if pc == LOCK and record and linked:
            yield self._go(state, me, "find the record", MAKE)
        elif pc == MAKE:
            if holder:
                yield self._go(state, me, "it is in use", DONE)
            else:
                yield self._go(state, me, "lock", LOOK, lock=True)
        elif pc == LOOK:
            if (record and linked) or "resumer looks" in self.without:
                yield self._go(state, me, "go on with it", HOLD)
            else:
                yield self._go(state, me, "it is gone", DONE)
        elif pc in (HOLD, FORGET, UNLINK):
            yield from self._end(state, me)

    def _end(self, state: State, me: int) -> Iterator[Step]:
        """Done with the record: it goes, then the lock file, then the lock."""
        pc = state[3][me]
        if pc == HOLD:
            yield self._go(state, me, "done with it", FORGET)
        elif pc == FORGET:
            yield self._go(state, me, "delete the record", UNLINK, record=0)
        else:
            yield self._go(state, me, "unlink the lock file", DONE, linked=0)

    def _reaper(self, state: State, me: int) -> Iterator[Step]:
        record, linked, holder, procs = state
        pc = procs[me]
        if pc == LOCK and linked:
            what = "find a record" if record else "find a lock file without a record"
            yield self._go(state, me, what, LOOK if record else MAKE)
        elif pc in (LOOK, MAKE):
            if holder:
                yield self._go(state, me, "somebody lives", LOCK)
                return
            lock = "reaper holds" not in self.without
            if pc == LOOK:
                first = FORGET if "record first" not in self.without else HOLD
                yield self._go(state, me, "the lock is free", first, lock=lock)
            else:
                yield self._go(state, me, "the lock is free", WRITE, lock=lock)
        elif pc == WRITE:  # a lock file that had no record
            if record and "reaper looks" not in self.without:
                yield self._go(state, me, "it has a record", LOCK, lock=False)
            else:
                yield self._go(state, me, "it has none", UNLINK)
        elif pc == FORGET:
            yield self._go(state, me, "delete the record", UNLINK, record=0)
        elif pc == UNLINK:
            yield self._go(state, me, "unlink the lock file", DONE, linked=0)
        elif pc == HOLD:  # only without the rule "record first"
            yield self._go(state, me, "unlink the lock file", FORGET, linked=0)

    def problem(self, state: State) -> str | None:
        """What is wrong with this state, or None."""
        record, linked, holder, procs = state
        for me, kind in enumerate(self.kinds):
            if kind != "reaper" and procs[me] == HOLD and not (record and linked and holder == me + 1):
                return f"{kind} counts on a record that is not there, or not locked"
        if record and not linked and all(pc == DONE for pc in procs):
            return "a record has lost its lock file, and nobody knows whether it lives"
        early = "lock before record" in self.without
        for me, kind in enumerate(self.kinds):
            if early and kind == "maker" and procs[me] == LOCK and not record:
                return "maker was told that its record is made, and it is gone"
        return None

    def dropping(self, *rules: str) -> Locks:
        """The same without some rules."""
        return replace(self, without=self.without | frozenset(rules))
