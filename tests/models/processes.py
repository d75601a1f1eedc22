"""Who works on the modelled store: pushers, makers of roots, deleters, readers, replacers of layouts, collectors.

Each `steps` gives what a process can do next, one transaction or one read at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.models.checker import Broken
from tests.models.world import DEAD, DONE, FLIPPED, MARKING, NONE, NOTHING, START, Proc, State, Tree, World, bits

Step = tuple[str, State]
LOOK, TRY, WALK, APPLY, READ = range(5)
IDLE, ROOTS, MARK, LIST, FLIP, DRAIN, DRAIN_WALK, DRAIN_APPLY, SWEEP, ROOTS_EARLY = range(10)


@dataclass(frozen=True)
class Process:
    """One process. `label`: what traces call it; `crashes`: whether it may die at any step (its locks go)."""

    label: str
    crashes: bool = field(default=False, kw_only=True)

    def steps(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        """What it can do next. `world` is given for one step: take `again` for each further one."""
        raise NotImplementedError

    def problem(self, world: World, proc: Proc) -> str | None:
        """What is wrong from this process's own point of view, or None."""
        return None

    def end(self, world: World, me: int, action: str, proc: Proc) -> Step:
        """The step `action`, after which this process is at `proc`."""
        world.procs = (*world.procs[:me], proc, *world.procs[me + 1 :])
        return f"{self.label}: {action}", world.freeze()


def again(world: World) -> World:
    """The same state, to be changed in another way."""
    return World(world.freeze(), world.tree, world.without, world.lost)


def first(mask: int, world: World) -> int:
    """The object an un-condemn walk is applied to next: children first."""
    return mask & -mask if world.keeps("children first") or not mask else 1 << (mask.bit_length() - 1)


def noted(fresh: int, world: World) -> int:
    """Whether the condemn_gen that a walk noted is current, while it reads: noted at its start, and only there."""
    return fresh if world.keeps("generation noted first") else 1


def walk_step(world: World, found: int, todo: int, fine: bool) -> tuple[int, int]:
    """Read on in an un-condemn walk: all of it in one go, or one object if `fine`. Returns (found, still to read)."""
    if not fine:
        return world.walk(todo), 0
    bit = 1 << (todo.bit_length() - 1)
    todo &= ~bit
    if bit & world.index & world.condemned():
        found |= bit
        todo |= world.children(bit) & ~found
    return found, todo


@dataclass(frozen=True)
class Walker(Process):
    """Tries a transaction; when that finds something condemned: walk, un-condemn, try again.

    Memory: (pc, fresh, wanted, found, todo, own, pin).
    """

    root: str = field(default="R", kw_only=True)

    def steps(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        pc, fresh, wanted, found, todo, own, pin = proc = world.procs[me]
        if pc == TRY:
            yield self.attempt(world, me, proc)
        elif pc == WALK:
            found, todo = walk_step(world, found, todo, fine)
            at = WALK if todo else APPLY if found else TRY
            yield self.end(world, me, "walk", (at, noted(fresh, world), wanted, found, todo, own, pin))
        elif pc == APPLY:
            bit = first(found, world)
            if not fresh and world.keeps("generation"):
                yield self.end(world, me, "flipped meanwhile, again", (TRY, 0, wanted, 0, 0, own, pin))
            elif not bit & world.index and world.keeps("still present"):
                yield self.gone(world, me, proc)
            else:
                world.uncondemn(bit)
                left = found & ~bit
                at = APPLY if left else TRY
                name = world.tree.show(bit)
                yield self.end(world, me, f"un-condemn {name}", (at, fresh if left else 0, wanted, left, 0, own, pin))
        else:
            yield from self.rest(world, me, fine)

    def begin_walk(self, world: World, me: int, proc: Proc, condemned: int) -> Step:
        """After a transaction was aborted because of `condemned`: note condemn_gen, then walk."""
        what = f"finds {world.tree.show(condemned)} condemned"
        return self.end(world, me, what, (WALK, 1, proc[2], 0, condemned, proc[5], proc[6]))

    def attempt(self, world: World, me: int, proc: Proc) -> Step:
        """The transaction."""
        raise NotImplementedError

    def gone(self, world: World, me: int, proc: Proc) -> Step:
        """Something it relied on is not there any more."""
        raise NotImplementedError

    def rest(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        """Its other steps."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pusher(Walker):
    """A push of one transaction: publish and move.

    version   of the layout it would store
    vouches   (base page, part): it takes the part for granted while the base page is there
    """

    version: int = field(default=0, kw_only=True)
    vouches: tuple[str, str] | None = field(default=None, kw_only=True)

    def wants(self, tree: Tree) -> int:
        """All of its tree."""
        return tree.closure(tree.mask(self.root), self.version)

    def rest(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        if world.procs[me][0] == LOOK:
            missing = self.wants(world.tree) & ~world.index
            own = 0
            if self.vouches:
                base, part = map(world.tree.mask, self.vouches)
                if not base & ~world.index and part & world.tree.closure(base, world.version):
                    own = world.version + 1  # it read the base page's layout, and found the part in it
            yield self.end(world, me, f"writes {world.tree.show(missing)}", (TRY, 0, missing, 0, 0, own, 0))

    def gone(self, world: World, me: int, proc: Proc) -> Step:
        return self.end(world, me, "something is gone, again", (LOOK, 0, 0, 0, 0, proc[5], proc[6]))

    def attempt(self, world: World, me: int, proc: Proc) -> Step:
        aborted = again(world)
        root, vouched = world.tree.mask(self.root), 0
        if self.vouches and proc[5]:
            base, part = map(world.tree.mask, self.vouches)
            unchanged = world.version + 1 == proc[5] or not world.keeps("voucher is current")
            vouched = part if unchanged and not any(world.relied_on(base)) else 0
        before = world.index
        absent, condemned = world.publish(proc[2], self.version, vouched)
        if world.keeps("all tops told"):
            world.tell(world.tops(world.index & ~before))
        if not absent and not condemned:
            absent, condemned = world.root(root)
        if absent:
            return self.gone(aborted, me, proc)
        if condemned:
            return self.begin_walk(aborted, me, proc, condemned)
        world.labels |= root
        return self.end(world, me, "publish and move", DONE)


@dataclass(frozen=True)
class LongPusher(Pusher):
    """A push of several transactions, one for each object, under a pin that names the tops; the move ends it.

    Memory: own is what it has inserted so far.
    """

    def rest(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        pc, _, _, _, _, own, pin = world.procs[me]
        if pc == LOOK:
            missing = self.wants(world.tree) & ~world.index
            yield self.end(world, me, f"writes {world.tree.show(missing)}", (TRY, 0, missing, 0, 0, own, pin))
        elif pc == READ:
            yield self.move(world, me, world.procs[me])

    def attempt(self, world: World, me: int, proc: Proc) -> Step:
        _, _, wanted, _, _, own, pin = proc
        if not wanted:
            if world.keeps("pin until move"):
                return self.move(world, me, proc)
            return self.end(world, me, "drop pin", (READ, 0, 0, 0, 0, own, 0))
        aborted, bit, before = again(world), wanted & -wanted, world.index
        absent, condemned = world.publish(bit, self.version)
        if absent:
            return self.gone(aborted, me, proc)
        if condemned:
            return self.begin_walk(aborted, me, proc, condemned)
        inserted = world.index & ~before
        if inserted:
            if world.keeps("tops pinned"):
                covered = world.children(bit) if world.keeps("tops covered only") else -1
                pin = pin & ~covered | bit
            if world.keeps("tops told"):
                world.tell(bit)
        what = f"publish {world.tree.show(bit)}" if inserted else f"{world.tree.show(bit)} is there already"
        return self.end(world, me, what, (TRY, 0, wanted & ~bit, 0, 0, own | inserted, pin))

    def move(self, world: World, me: int, proc: Proc) -> Step:
        """The last transaction: the label moves, the pin goes."""
        root = world.tree.mask(self.root)
        aborted = again(world)
        absent, condemned = world.root(root)
        if absent:
            return self.gone(aborted, me, proc)
        if condemned:
            return self.begin_walk(aborted, me, proc, condemned)
        world.labels |= root
        return self.end(world, me, "move", DONE)

    def problem(self, world: World, proc: Proc) -> str | None:
        """What it has published stays until it ends: a push never has to start over because of a collector."""
        lost = proc[5] & ~world.index
        return f"{self.label} has lost {world.tree.show(lost)}, which it had published" if lost else None


@dataclass(frozen=True)
class Rooter(Walker):
    """Makes a root of what is in the store already (undelete, reset, pin, longer retention), or says "collected"."""

    def rest(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        if world.procs[me][0] == LOOK:
            yield self.attempt(world, me, world.procs[me])

    def gone(self, world: World, me: int, proc: Proc) -> Step:
        return self.end(world, me, "collected", DONE)

    def attempt(self, world: World, me: int, proc: Proc) -> Step:
        aborted, root = again(world), world.tree.mask(self.root)
        absent, condemned = world.root(root)
        if absent:
            return self.gone(aborted, me, proc)
        if condemned:
            return self.begin_walk(aborted, me, proc, condemned)
        return self.rooted(world, me, root)

    def rooted(self, world: World, me: int, root: int) -> Step:
        """It is a root now."""
        world.labels |= root
        return self.end(world, me, f"{world.tree.show(root)} is a root again", DONE)


@dataclass(frozen=True)
class Reader(Rooter):
    """A long reader: pins, reads everything, unpins."""

    def rooted(self, world: World, me: int, root: int) -> Step:
        pin = root if world.keeps("reader pins") else 0
        return self.end(world, me, f"pin {world.tree.show(root)}", (READ, 0, root, 0, 0, 0, pin))

    def rest(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        pc, _, todo, _, _, _, pin = world.procs[me]
        if pc != READ:
            yield from super().rest(world, me, fine)
        elif not todo:
            yield self.end(world, me, "unpin", DONE)
        else:
            bit = 1 << (todo.bit_length() - 1)
            if not bit & world.index:
                raise Broken(f"{self.label} misses {world.tree.show(bit)}")
            todo = todo & ~bit | world.children(bit)
            yield self.end(world, me, f"read {world.tree.show(bit)}", (READ, 0, todo, 0, 0, 0, pin))


@dataclass(frozen=True)
class Deleter(Process):
    """Deletes labels, or lets entries leave the retention window: each time, one root stops being one."""

    times: int = field(default=1, kw_only=True)

    def steps(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        done = world.procs[me][0]
        if done >= self.times:
            return
        for bit in bits(world.labels):
            after = again(world)
            after.labels &= ~bit
            proc = DONE if done + 1 == self.times else (done + 1, *START[1:])
            yield self.end(after, me, f"{world.tree.show(bit)} is no root any more", proc)


@dataclass(frozen=True)
class Replacer(Process):
    """Lays a page out anew: one transaction replaces its layout.

    page     the page; base, version: from which layout to which
    purges   afterwards no layout may name the parts that the old one named
    """

    page: str = field(default="P", kw_only=True)
    base: int = field(default=0, kw_only=True)
    version: int = field(default=1, kw_only=True)
    purges: bool = field(default=False, kw_only=True)

    def steps(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        pc, _, read, *_ = world.procs[me]
        layout = world.tree.layout
        assert layout is not None
        there = not (world.tree.mask(self.page) | 1 << layout) & ~world.index
        if pc == LOOK and there and world.version == self.base:
            yield self.end(world, me, "read the layout", (TRY, 0, world.version, 0, 0, 0, 0))
        elif pc == TRY and not there:
            yield self.end(world, me, "the page is gone", DONE)
        elif pc == TRY and world.version != read and world.keeps("sequence number"):
            yield self.end(world, me, "replaced meanwhile, again", START)
        elif pc == TRY:
            new = world.tree.versions[self.version]
            absent, condemned = world.relied_on(new)
            for bit in bits(absent):  # its bytes are in a pack
                world.insert(bit)
            page_condemned = world.tree.mask(self.page) & world.condemned()
            if world.keeps("new parts un-condemned") or not page_condemned:
                world.uncondemn(condemned)
            world.tell(new if world.keeps("new parts told") else world.tree.mask(self.page))
            world.version = self.version
            yield self.end(world, me, "replace the layout", (DONE[0], 0, 0, 0, 0, int(self.purges), 0))

    def problem(self, world: World, proc: Proc) -> str | None:
        """What was purged stays purged."""
        if proc[5] and world.tree.versions[world.version] & ~world.tree.versions[self.version]:
            return "a layout names what was purged"
        return None


@dataclass(frozen=True)
class Collector(Process):
    """Garbage collection, over and over.

    Memory: (pc, fresh, marked, todo, found, whose record, no pin). What it has read is its own; its record is in the
    store, and outlives it. The next collector finishes the records of dead ones.
    """

    def steps(self, world: World, me: int, fine: bool) -> Iterator[Step]:
        pc, _, marked, todo, _, _, _ = world.procs[me]
        tree = world.tree
        if pc == IDLE:
            yield from self.begin(world, me)
        elif pc == ROOTS_EARLY:  # only without the rule "register first"
            world.set_record(me, (MARKING, 0, 0, 0))
            yield self.end(world, me, "register", (MARK, 0, 0, todo, 0, me, 0))
        elif pc == ROOTS:
            yield self.end(world, me, "read the roots", (MARK, 0, 0, world.labels | world.pins(), 0, me, 0))
        elif pc == MARK:
            marked, todo = self.mark(world, marked, todo, fine)
            action = "mark" if not fine else f"mark so far {tree.show(marked)}"
            yield self.end(world, me, action, (MARK if todo else LIST, 0, marked, todo, 0, me, 0))
        elif pc == LIST:
            bit = 1 << todo if fine else (1 << len(tree.names)) - 1
            phase, told, candidates, born = world.records[me]
            world.set_record(me, (phase, told, candidates | bit & world.index & ~marked, born))
            more = fine and todo + 1 < len(tree.names)
            memory = marked if more or not world.keeps("born beat marks") else 0
            action = f"list {tree.show(bit & world.index)}"
            yield self.end(world, me, action, (LIST if more else FLIP, 0, memory, todo + 1 if more else 0, 0, me, 0))
        elif pc == FLIP:
            world.flip(me, marked)
            condemned = tree.show(world.records[me][2])
            at = DRAIN if world.keeps("drain") else SWEEP
            yield self.end(world, me, f"flip, condemned {condemned}", (at, 0, self.sweeps(world, me), 0, 0, me, 0))
        elif pc in (DRAIN, DRAIN_WALK, DRAIN_APPLY):
            yield self.drain(world, me, fine)
        else:
            yield self.sweep(world, me)

    def begin(self, world: World, me: int) -> Iterator[Step]:
        """Finish what a dead collector left, or start a round."""
        left = [number for number, proc in enumerate(world.procs) if proc == DEAD and world.records[number][0] != NONE]
        for number in left:
            after = again(world)
            if world.records[number][0] == MARKING:
                after.set_record(number, NOTHING)
                yield self.end(after, me, "clear a dead one's list and candidates", START)
            else:
                at = DRAIN if world.keeps("take-over drains") else SWEEP
                proc = (at, 0, self.sweeps(after, number), 0, 0, number, 0)
                yield self.end(after, me, "take over a dead one's flipped set", proc)
        if left:
            return
        if world.keeps("register first"):
            world.set_record(me, (MARKING, 0, 0, 0))
            yield self.end(world, me, "register", (ROOTS, 0, 0, 0, 0, me, 0))
        else:
            roots = world.labels | world.pins()
            yield self.end(world, me, "read the roots", (ROOTS_EARLY, 0, 0, roots, 0, me, 0))

    def sweeps(self, world: World, number: int) -> int:
        """What a sweeper keeps in mind: nothing, it reads the marks as it goes (or, without that rule, the marks)."""
        return 0 if world.keeps("re-read mark") else world.records[number][2]

    def mark(self, world: World, marked: int, todo: int, fine: bool) -> tuple[int, int]:
        """Read on, without a transaction: everything, or one object if `fine`. Returns (marked, still to read)."""
        while todo:
            bit = 1 << (todo.bit_length() - 1)
            todo &= ~bit
            if bit & world.index:
                marked |= bit
                todo |= world.children(bit) & ~marked
            elif bit & world.tree.closure(world.labels | world.pins(), world.version) & ~world.lost:
                raise Broken(f"{self.label} cannot read {world.tree.show(bit)}, which is reachable")
            if fine:
                break
        return marked, todo

    def drain(self, world: World, me: int, fine: bool) -> Step:
        """Un-condemn, in one walk, all that is on the list of the record it works on; then clear the list."""
        pc, fresh, memory, todo, found, whose, _ = world.procs[me]
        _, told, condemned, born = world.records[whose]
        names = world.tree.show(told)
        if not told:
            return self.end(world, me, "drained", (SWEEP, 0, memory, 0, 0, whose, 0))
        if pc == DRAIN:
            return self.end(world, me, f"drain {names}", (DRAIN_WALK, 1, memory, told, 0, whose, 0))
        if pc == DRAIN_WALK:
            found, todo = walk_step(world, found, todo, fine)
            at = DRAIN_WALK if todo else DRAIN_APPLY
            return self.end(world, me, f"walk from {names}", (at, noted(fresh, world), memory, todo, found, whose, 0))
        if not found:
            world.set_record(whose, (FLIPPED, 0, condemned, born) if world.records[whose][0] == FLIPPED else NOTHING)
            return self.end(world, me, f"clear {names}", (DRAIN, 0, memory, 0, 0, whose, 0))
        if not fresh and world.keeps("generation"):
            return self.end(world, me, "flipped meanwhile, again", (DRAIN, 0, memory, 0, 0, whose, 0))
        bit = first(found, world)
        name, left = world.tree.show(bit), found & ~bit
        if bit & world.index:
            world.uncondemn(bit)
            return self.end(world, me, f"un-condemn {name}", (DRAIN_APPLY, fresh, memory, 0, left, whose, 0))
        if not world.keeps("gone passed over"):
            left = 0
        return self.end(world, me, f"{name} is gone", (DRAIN_APPLY, fresh, memory, 0, left, whose, 0))

    def sweep(self, world: World, me: int) -> Step:
        """Remove one object, or finish the record."""
        memory, whose = world.procs[me][2], world.procs[me][5]
        phase, told, condemned, born = world.records[whose]
        if phase != FLIPPED:  # somebody else finished it
            return self.end(world, me, "done", START)
        doomed = condemned if world.keeps("re-read mark") else memory
        if not doomed:
            world.set_record(whose, NOTHING)
            return self.end(world, me, "done", START)
        bit = 1 << (doomed.bit_length() - 1) if world.keeps("parents first") else doomed & -doomed
        world.index &= ~bit
        world.set_record(whose, (phase, told, condemned & ~bit, born))
        return self.end(world, me, f"sweep {world.tree.show(bit)}", (SWEEP, 0, memory & ~bit, 0, 0, whose, 0))


@dataclass(frozen=True)
class Store:
    """A model: these processes on one store. See `checker.Model`.

    present    what lies in the store at the start (nothing refers to it but `labels`)
    fine       marks, walks and candidate lists are read one object at a time
    losses     only what is lost counts as a problem, not a broken invariant (for shorter stories)
    damaged    an object that is missing at the start although a label needs it, until a push has ended
    """

    tree: Tree
    processes: tuple[Process, ...]
    present: tuple[str, ...] = ("",)
    labels: str = ""
    without: frozenset[str] = frozenset()
    fine: bool = False
    losses: bool = False
    damaged: str = ""

    def initial(self) -> Iterator[State]:
        """One start for each of `present`."""
        count = len(self.processes)
        for names in self.present:
            yield (self.tree.mask(names), 0, self.tree.mask(self.labels), (NOTHING,) * count, (START,) * count)

    def steps(self, state: State) -> Iterator[Step]:
        """Every step of every process, and every crash."""
        for number, process in enumerate(self.processes):
            proc = state[4][number]
            if proc in (DEAD, DONE):
                continue
            yield from process.steps(self.world(state), number, self.fine)
            if process.crashes:
                yield process.end(self.world(state), number, "crash", DEAD)

    def world(self, state: State) -> World:
        """A state that can be changed."""
        lost = 0
        if self.damaged and not any(
            proc == DONE and isinstance(process, Pusher) for process, proc in zip(self.processes, state[4], strict=True)
        ):
            lost = self.tree.closure(self.tree.mask(self.damaged), state[1])
        return World(state, self.tree, self.without, lost)

    def problem(self, state: State) -> str | None:
        """See `World.problem` and `Process.problem`."""
        world = self.world(state)
        # What got a new child below it is uncondemned between a flip and its drain, and the child is not.
        strict = self.tree.layout is None and not self.damaged
        if problem := world.problem(losses=self.losses, strict=strict):
            return problem
        for number, process in enumerate(self.processes):
            if problem := process.problem(world, state[4][number]):
                return problem
        return None

    def dropping(self, *rules: str) -> Store:
        """The same without some rules."""
        return replace(self, without=self.without | frozenset(rules))
