"""Packs: who may write to one, how one goes, and what readers see meanwhile (DESIGN 4.3, "a pack's life"; repack).

One object, x, with one object y below it, whose place does not matter. What decides that x is garbage is modelled
elsewhere (`world.py`): here a sweep may take x, then y, once no label needs them. A pack is an inode: an unlinked one
can still be locked and read through a descriptor. Every process may die at any step; its locks are free then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.models.checker import Broken

RULES = {
    "writer's lock": "a pack is written to only by who holds its lock",
    "dropper's lock": "a pack is dropped only by who holds its lock",
    "refuse dropped": "a publish refuses when the pack's row is dropped or absent",
    "look after lock": "whoever took a pack's lock looks at its row and its link count again",
    "still empty": "the transaction that drops a pack finds that nothing live lies in it",
    "drop before unlink": "a pack is unlinked only after the transaction that dropped it",
    "same place": "repack moves an index entry only if it still says the old place; it inserts none",
    "janitor's lock": "a file without a row is removed only under its lock",
    "janitor looks again": "... and after looking for the row again",
    "creator looks": "whoever made a pack and took its lock looks at its link count before registering it",
    "readers go on": "a reader whose pack is gone looks the place up again for as long as it changes",
}

ABSENT, OPEN, DROPPED = range(3)

# A pack: its row; whether the file was ever made, whether it is linked; who holds its lock (0: nobody); whether x lies
# in it below the committed end, and above.
Pack = tuple[int, int, int, int, int, int]
UNUSED: Pack = (ABSENT, 0, 0, 0, 0, 0)

# A process: where it is, a pack, another pack (0: none; packs are counted from 1).
Proc = tuple[int, int, int]
DONE: Proc = (99, 0, 0)

# In which pack the index says that x lies (0: not in the index); whether y is in the index; whether a label needs x.
State = tuple[int, int, int, tuple[Pack, ...], tuple[Proc, ...]]
Step = tuple[str, State]


class World:
    """A state that can be changed."""

    __slots__ = ("labelled", "packs", "place", "procs", "without", "y")

    def __init__(self, state: State, without: frozenset[str]) -> None:
        self.place, self.y, self.labelled, packs, procs = state
        self.packs = list(packs)
        self.procs = list(procs)
        self.without = without

    def freeze(self) -> State:
        """The state as it is now."""
        return (self.place, self.y, self.labelled, tuple(self.packs), tuple(self.procs))

    def keeps(self, rule: str) -> bool:
        """Whether a rule is kept in this run."""
        return rule not in self.without

    def pack(self, number: int) -> Pack:
        """A pack, counted from 1."""
        return self.packs[number - 1]

    def change(
        self,
        number: int,
        *,
        row: int | None = None,
        linked: int | None = None,
        holder: int | None = None,
        committed: int | None = None,
        tail: int | None = None,
    ) -> None:
        """Change some of what is so about a pack."""
        old = self.pack(number)
        given = (row, 1, linked, holder, committed, tail)
        new = [was if now is None else now for was, now in zip(old, given, strict=True)]
        self.packs[number - 1] = (new[0], new[1], new[2], new[3], new[4], new[5])

    def release(self, me: int) -> None:
        """Close every lock of a process."""
        for number, pack in enumerate(self.packs, 1):
            if pack[3] == me + 1:
                self.change(number, holder=0)

    def unused(self) -> int:
        """A name that no pack ever had, or 0 when this model has none left."""
        return next((number for number, pack in enumerate(self.packs, 1) if not pack[1]), 0)

    def in_row(self, row: int) -> list[int]:
        """The packs with such a row."""
        return [number for number, pack in enumerate(self.packs, 1) if pack[0] == row]

    def publish(self, pack: int) -> None:
        """The index says that x lies in `pack`: at the end of what has been written to it."""
        self.place = pack
        self.change(pack, committed=self.pack(pack)[4] | self.pack(pack)[5], tail=0)


@dataclass(frozen=True)
class Process:
    """One process: what it can do next from a world that is its own to change (`fresh` gives another)."""

    label: str
    crashes: bool = field(default=True, kw_only=True)

    def steps(self, state: State, without: frozenset[str], me: int) -> Iterator[Step]:
        """What it can do next."""
        raise NotImplementedError

    def at(self, world: World, me: int, action: str, proc: Proc) -> Step:
        """The step `action`, after which this process is at `proc`; when it is done its locks are free."""
        if proc == DONE:
            world.release(me)
        world.procs[me] = proc
        return f"{self.label}: {action}", world.freeze()


class Pusher(Process):
    """Takes a pack that is free, or makes one; writes x; publishes it unless it is there; its label needs x."""

    def steps(self, state: State, without: frozenset[str], me: int) -> Iterator[Step]:
        def fresh() -> World:
            return World(state, without)

        world = fresh()
        pc, pack, _ = world.procs[me]
        if pc == 0:
            for number in world.in_row(OPEN):
                if world.pack(number)[2]:
                    yield self.at(fresh(), me, f"open pack {number}", (1, number, 0))
            if new := world.unused():
                after = fresh()
                after.change(new, linked=1)
                yield self.at(after, me, f"make pack {new}", (4, new, 0))
        elif pc == 1:
            if world.keeps("writer's lock"):
                if world.pack(pack)[3]:
                    yield self.at(world, me, "its lock is taken", (0, 0, 0))
                    return
                world.change(pack, holder=me + 1)
            yield self.at(world, me, f"lock pack {pack}", (2, pack, 0))
        elif pc == 2:
            row, _, linked, *_ = world.pack(pack)
            if world.keeps("look after lock") and (row != OPEN or not linked):
                world.release(me)
                yield self.at(world, me, "it is gone", (0, 0, 0))
            else:
                world.change(pack, tail=0)
                yield self.at(world, me, "cut it back", (3, pack, 0))
        elif pc == 3:
            world.change(pack, tail=1)
            yield self.at(world, me, f"write x to pack {pack}", (7, pack, 0))
        elif pc == 4 and not world.pack(pack)[3]:
            world.change(pack, holder=me + 1)
            yield self.at(world, me, f"lock pack {pack}", (5, pack, 0))
        elif pc == 5:
            if world.keeps("creator looks") and not world.pack(pack)[2]:
                world.release(me)
                yield self.at(world, me, "it was taken for a leftover", (0, 0, 0))
            else:
                world.change(pack, row=OPEN)
                yield self.at(world, me, f"register pack {pack}", (3, pack, 0))
        elif pc == 7:
            if world.place:
                world.labelled = 1
                yield self.at(world, me, "x is there already, label", DONE)
            elif world.keeps("refuse dropped") and world.pack(pack)[0] != OPEN:
                world.release(me)
                yield self.at(world, me, "the pack was dropped", (0, 0, 0))
            else:
                world.publish(pack)
                world.y = world.labelled = 1
                yield self.at(world, me, "publish x, label", DONE)


class Repacker(Process):
    """Copies what lives in a pack to a new one, then drops the pack; finishes what another left half done."""

    def steps(self, state: State, without: frozenset[str], me: int) -> Iterator[Step]:
        def fresh() -> World:
            return World(state, without)

        world = fresh()
        pc, old, new = world.procs[me]
        if pc == 0:
            for number in world.in_row(DROPPED):
                yield self.at(fresh(), me, f"finds pack {number} dropped", (8, number, 0))
            for number in world.in_row(OPEN):
                if target := world.unused():
                    after = fresh()
                    after.change(target, row=OPEN, linked=1, holder=me + 1)
                    yield self.at(after, me, f"empty pack {number} into pack {target}", (2, number, target))
        elif pc == 2:
            if world.place == old:
                world.change(new, tail=1)
                yield self.at(world, me, f"copy x to pack {new}", (3, old, new))
            else:
                yield self.at(world, me, "x is not there", (4, old, new))
        elif pc == 3:
            if world.keeps("refuse dropped") and world.pack(new)[0] != OPEN:
                yield self.at(world, me, "the new pack was dropped", DONE)
            elif world.place == old or not world.keeps("same place"):
                world.publish(new)
                yield self.at(world, me, f"x lies in pack {new} now", (4, old, new))
            else:
                yield self.at(world, me, "x is not there any more", (4, old, new))
        elif pc in (4, 8):
            if world.keeps("dropper's lock"):
                if world.pack(old)[3]:
                    yield self.at(world, me, f"pack {old} is locked", DONE)
                    return
                world.change(old, holder=me + 1)
            first = 5 if world.keeps("drop before unlink") else 10
            yield self.at(world, me, f"lock pack {old}", (first if pc == 4 else 6, old, 0))
        elif pc == 5:
            empty = world.place != old or not world.keeps("still empty")
            if world.pack(old)[0] == OPEN and empty:
                world.change(old, row=DROPPED)
                yield self.at(world, me, f"drop pack {old}", (6, old, 0))
            else:
                yield self.at(world, me, f"pack {old} is needed", DONE)
        elif pc in (6, 10):
            if pc == 10 and (world.place == old or world.pack(old)[0] != OPEN):
                yield self.at(world, me, f"pack {old} is needed", DONE)
                return
            world.change(old, linked=0)
            yield self.at(world, me, f"unlink pack {old}", (7 if pc == 6 else 5, old, 0))
        elif pc == 7:
            world.change(old, row=ABSENT)
            yield self.at(world, me, f"delete the row of pack {old}", DONE)


class Sweeper(Process):
    """One label goes; then x is swept, then y, unless a label needs them again."""

    def steps(self, state: State, without: frozenset[str], me: int) -> Iterator[Step]:
        world = World(state, without)
        pc = world.procs[me][0]
        if pc == 0 and world.labelled:
            world.labelled = 0
            # Who is reading x now may be told that it was collected.
            world.procs = [(p[0], p[1], p[2] | 8) if 20 <= p[0] < 30 else p for p in world.procs]
            yield self.at(world, me, "delete label", (1, 0, 0))
        elif pc == 1 and not world.labelled and world.place:
            world.place = 0
            yield self.at(world, me, "sweep x", (1, 0, 0))
        elif pc == 1 and not world.labelled and not world.place and world.y:
            world.y = 0
            yield self.at(world, me, "sweep y", (1, 0, 0))


class Reader(Process):
    """Reads x once, without a pin: look its place up, open the pack, read. Memory: (pc, pack, how often it looked)."""

    def steps(self, state: State, without: frozenset[str], me: int) -> Iterator[Step]:
        world = World(state, without)
        pc, pack, looked = world.procs[me]
        excused = looked & 8
        if (pc == 0 and world.labelled) or pc == 20:
            if excused and not world.place:
                yield self.at(world, me, "collected", DONE)
            elif world.place == pack or (looked & 7 >= 2 and not world.keeps("readers go on")):
                if not excused:
                    raise Broken(f"{self.label} takes x for lost")
                yield self.at(world, me, "collected", DONE)
            else:
                count = looked if world.keeps("readers go on") else looked + 1
                yield self.at(world, me, f"x lies in pack {world.place}", (21, world.place, count))
        elif pc == 21:
            if world.pack(pack)[2]:
                yield self.at(world, me, f"open pack {pack} and read", DONE)
            else:
                yield self.at(world, me, f"pack {pack} is gone", (20, pack, looked))


class Janitor(Process):
    """Removes files that have no row: what somebody who died while making a pack left behind."""

    def steps(self, state: State, without: frozenset[str], me: int) -> Iterator[Step]:
        world = World(state, without)
        pc, pack, _ = world.procs[me]
        if pc == 0:
            for number in world.in_row(ABSENT):
                if world.pack(number)[2]:
                    after = World(state, without)
                    yield self.at(after, me, f"pack {number} has no row", (1, number, 0))
        elif pc == 1:
            if world.keeps("janitor's lock"):
                if world.pack(pack)[3]:
                    yield self.at(world, me, f"pack {pack} is locked", DONE)
                    return
                world.change(pack, holder=me + 1)
            yield self.at(world, me, f"lock pack {pack}", (2, pack, 0))
        elif pc == 2:
            if world.pack(pack)[0] == ABSENT or not world.keeps("janitor looks again"):
                yield self.at(world, me, "it still has none", (3, pack, 0))
            else:
                yield self.at(world, me, f"pack {pack} has a row", DONE)
        elif pc == 3:
            world.change(pack, linked=0)
            yield self.at(world, me, f"unlink pack {pack}", DONE)


@dataclass(frozen=True)
class Packs:
    """A model: x lies in pack 1, which nobody holds. `packs`: how many there can be. See `checker.Model`."""

    processes: tuple[Process, ...]
    packs: int = 4
    without: frozenset[str] = frozenset()

    def initial(self) -> Iterator[State]:
        """One start."""
        first: Pack = (OPEN, 1, 1, 0, 1, 0)
        yield (1, 1, 1, (first,) + (UNUSED,) * (self.packs - 1), ((0, 0, 0),) * len(self.processes))

    def steps(self, state: State) -> Iterator[Step]:
        """Every step of every process, and every crash."""
        for number, process in enumerate(self.processes):
            if state[4][number] == DONE:
                continue
            yield from process.steps(state, self.without, number)
            if process.crashes:
                yield process.at(World(state, self.without), number, "crash", DONE)

    def problem(self, state: State) -> str | None:
        """What is wrong with this state, or None."""
        place, y, labelled, packs, _ = state
        if labelled and not place:
            return "a label needs x, which is not in the index"
        if place and not y:
            return "the index holds x, but not y, which lies below it"
        if place:
            row, _, linked, _, committed, _ = packs[place - 1]
            if not (row == OPEN and linked and committed):
                return f"the index says that x lies in pack {place}, where it does not"
        if any(row == OPEN and not linked for row, _, linked, *_ in packs):
            return "a pack that may be written to is not there"
        return None

    def dropping(self, *rules: str) -> Packs:
        """The same without some rules."""
        return replace(self, without=self.without | frozenset(rules))
