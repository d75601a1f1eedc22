"""Small histories, who works on them, and what must be true when they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

from jvs.castore import publish
from jvs.castore.backend import Codec, Kind, ReadTxn, Ref, Store, Stored
from jvs.castore.codec import encode
from jvs.castore.digest import Digest, file_digest, part_digest
from jvs.castore.gc.collection import Collection, Limits, take_over
from jvs.castore.gc.nameset import Budget
from jvs.castore.gc.pins import pin_snapshot
from jvs.castore.layout import Place, encode_layout
from jvs.castore.manifest import FILE, File, Tree, small_files
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.errors import CollectedError, MissingChildrenError, MissingObjectError, StateError, UnknownError
from jvs.labels import Labels
from jvs.labels.moves import MoveRequest
from jvs.labels.roots import roots as roots_of
from jvs.labels.tables import DELETED, LABELS, unpack_head
from tests.castore.models import TINY, Model, noise, put_tree, read_tree
from tests.gc.scheduler import Broken
from tests.gc.stores import Watch

ATTEMPTS: Final = 20
UNLIMITED: Final = Limits()
CLOCK: Final = 1_000_000

SHARED = noise(150, 1)
SUB: Final[Model] = {b"b": noise(20, 2), b"shared": SHARED}
OLD: Final[Model] = {b"big": noise(700, 3), b"shared": SHARED, b"sub": SUB}
"""A root with a subdirectory; a part that both share; a recipe of a few chunks."""
OVERLAP: Final[Model] = {b"other": noise(30, 4), b"sub": SUB}
"""Another root above the same subdirectory."""
RELAID: Final[Model] = {b"aa": {b"shared": SHARED}, b"sub": SUB}
"""Above the same subdirectory, whose layout is another one here: one of its files lies in another directory's part."""


NEW = noise(40, 5)
NOVEL: Final[Model] = {b"big": noise(800, 6), b"sub": {b"f": noise(40, 7)}, b"z": {b"g": noise(50, 8)}}
"""A tree that nobody else has anything of."""

GONE: Final = (MissingChildrenError, MissingObjectError, CollectedError)
"""What a push raises when something it built on was collected meanwhile: it starts again."""


class InlineTreeWriter(TreeWriter):
    """A TreeWriter that does everything on its caller's thread, in order."""

    def _put(self, job: Any, weight: int) -> None:
        self._work(job)

    def _chunk_pool(self) -> Any:
        return SimpleNamespace(submit=_now, shutdown=lambda **_: None)


def _now(work: Callable[..., Any], *args: Any) -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(work(*args))
    return done


def no_step(count: int) -> None:
    """A collector's progress is nobody's business here."""


def heads(txn: ReadTxn) -> Iterator[Digest]:
    """The roots: label heads, nothing else."""
    for _, raw in txn.scan(LABELS):
        yield unpack_head(raw).ca_id


def every_root(txn: ReadTxn) -> Iterator[Digest]:
    """The roots: all that the pointer plane protects."""
    for root in roots_of(txn, CLOCK):
        yield root.ca_id


# -- what processes do


def write_and_move(store: Store, label: str, model: Model, began: Callable[[], None] = lambda: None) -> None:
    """Push a tree as a label, as `jvs fs push` does: again when what it built on was collected meanwhile."""
    for _ in range(ATTEMPTS):
        began()
        try:
            with InlineTreeWriter(ObjectStore(store, TINY)) as writer:
                publish_as(writer, labels_of(store), label, put_tree(writer, model))
        except GONE:
            continue
        return
    raise AssertionError("a push does not come to its end")


def publish_as(writer: TreeWriter, labels: Labels, label: str, tree: Tree) -> None:
    """Publish what was written, and move the label in the last transaction."""
    request = MoveRequest(label, tree.digest)
    writer.publish(lambda txn: labels.move_in(txn, request))


def collect(store: Store, roots: Callable[[ReadTxn], Iterator[Digest]], limits: Limits = UNLIMITED) -> None:
    """One run of the collector."""
    if not take_over(store, limits, no_step).done:  # type: ignore[arg-type]
        return
    with Collection(store, Budget(None)) as gc:  # type: ignore[arg-type]
        try:
            gc.mark(roots, no_step)
        except StateError:
            return  # roots went away again and again
        gc.condemn(gc.unreached(no_step))
        gc.sweep(limits, no_step)


def labels_of(store: Any) -> Labels:
    """Its labels, by a clock that stands still."""
    return Labels(store, actor="tester", clock=lambda: CLOCK)


@dataclass
class World:
    """One run of a scenario: the store, and what the processes were told.

    stores   the store as each process knows it, and (under no name) as a bystander does
    collect  one run of the collector
    labels   what each label must hold: acknowledged, and not being deleted
    pinned   what must be readable: somebody pinned it
    """

    stores: Mapping[str, Any]
    watch: Watch
    collect: Callable[[Any, Limits], None]
    labels: dict[str, Model] = field(default_factory=dict)
    pinned: list[Model] = field(default_factory=list)
    unsure: dict[str, Sequence[Model | None]] = field(default_factory=dict)
    """Labels somebody was killed moving: either way is right."""

    @property
    def store(self) -> Any:
        """The store as the running process knows it."""
        process = self.watch.current
        return self.stores["" if process is None else process.name]


Body = Callable[[World], None]


class Actor:
    """Makes one process of a scenario. `name` is what scripts call it."""

    crashable = True

    def __init__(self, name: str, *, crashable: bool | None = None) -> None:
        self.name = name
        if crashable is not None:
            self.crashable = crashable

    def work(self, world: World) -> None:
        """What it does."""
        raise NotImplementedError

    def died(self, world: World) -> None:
        """It was killed before it ended."""


class Pusher(Actor):
    """Pushes a tree as a label that is there only when it is done."""

    def __init__(self, name: str, model: Model) -> None:
        super().__init__(name)
        self.model = model

    def work(self, world: World) -> None:
        store, published = world.store, world.watch.published
        process = world.watch.current
        assert process is not None

        def began() -> None:
            published[process] = set()

        if self.push(store, began):
            world.labels[self.name] = self.model
        del published[process]

    def push(self, store: Any, began: Callable[[], None]) -> bool:
        """Whether there was anything to push."""
        write_and_move(store, self.name, self.model, began)
        return True

    def died(self, world: World) -> None:
        if self.name not in world.labels:
            world.unsure[self.name] = (None, self.model)


class Mover(Actor):
    """Makes a label of what is in the store already, or finds out that it is gone."""

    def __init__(self, name: str, model: Model) -> None:
        super().__init__(name)
        self.model = model

    def work(self, world: World) -> None:
        try:
            labels_of(world.store).force(self.name, digest_of(self.model))
        except CollectedError:
            return
        world.labels[self.name] = self.model

    def died(self, world: World) -> None:
        if self.name not in world.labels:
            world.unsure[self.name] = (None, self.model)


class Editor(Pusher):
    """Pushes the tree that a label has, with one more file, as another label: what is not changed is kept by reference.
    Gives up when the label is gone."""

    def __init__(self, name: str, base: str, model: Model) -> None:
        super().__init__(name, {**model, b"new": NEW})
        self.base = base

    def push(self, store: Any, began: Callable[[], None]) -> bool:
        for _ in range(ATTEMPTS):
            began()
            objects, labels = ObjectStore(store, TINY), labels_of(store)
            head = labels.get(self.base)
            if head is None:
                return False
            entry = File(b"new", FILE, 0o644, len(NEW), file_digest(NEW))
            try:
                with InlineTreeWriter(objects) as writer:
                    tree = writer.edit(head.ca_id, {b"new": entry}, {entry.digest: NEW})
                    publish_as(writer, labels, self.name, tree)
            except GONE:
                continue
            return True
        raise AssertionError("a push does not come to its end")


class Filler(Actor):
    """Fills the disk for a while. It dies only with the disk as it was."""

    crashable = False

    def work(self, world: World) -> None:
        for full in (True, False):
            world.watch.step("fill")
            world.watch.full = full


class Deleter(Actor):
    """Deletes a label."""

    def __init__(self, name: str, label: str) -> None:
        super().__init__(name)
        self.label = label

    def work(self, world: World) -> None:
        held = world.labels.pop(self.label, None)
        world.unsure[self.label] = (None, held)
        labels_of(world.store).delete(self.label)
        del world.unsure[self.label]


class Resetter(Mover):
    """Moves a label back to what it held before, as long as no collector has ended that."""

    def __init__(self, name: str, label: str, model: Model) -> None:
        super().__init__(name, model)
        self.label = label

    def work(self, world: World) -> None:
        try:
            labels_of(world.store).reset(self.label, digest_of(self.model))
        except (CollectedError, StateError, UnknownError):
            return  # collected, or no longer in the reflog, or the label is deleted
        world.labels[self.label] = self.model

    def died(self, world: World) -> None:
        """Nothing happened: its last step is the move itself."""


class Undeleter(Mover):
    """Brings a deleted label back, as long as no collector has ended that."""

    def __init__(self, name: str, label: str, model: Model) -> None:
        super().__init__(name, model)
        self.label = label

    def work(self, world: World) -> None:
        try:
            labels_of(world.store).undelete(self.label)
        except (UnknownError, StateError) as error:
            with world.store.read() as txn:
                kept = any(True for _ in txn.scan(DELETED))
            if kept and isinstance(error, CollectedError):
                raise  # what may still come back is kept
            return  # not deleted yet, or forgotten
        world.labels[self.label] = self.model

    def died(self, world: World) -> None:
        """Nothing happened: its last step is the move itself."""


class Pinner(Mover):
    """Pins a snapshot for good, if it is there."""

    def work(self, world: World) -> None:
        try:
            labels_of(world.store).pin(digest_of(self.model))
        except CollectedError:
            return
        world.pinned.append(self.model)

    def died(self, world: World) -> None:
        """Nothing happened: its last step is the pin itself."""


class Reader(Actor):
    """Pins what a label has and reads all of it."""

    def __init__(self, name: str, label: str, model: Model) -> None:
        super().__init__(name)
        self.label = label
        self.model = model

    def work(self, world: World) -> None:
        info = labels_of(world.store).get(self.label)
        if info is None:
            return
        try:
            pin = pin_snapshot(world.store, info.ca_id, "pull")
        except CollectedError:
            return  # deleted, and collected, since we looked
        with pin:
            if read_tree(ObjectStore(world.store, TINY), info.ca_id) != self.model:
                raise Broken("a reader got something else")


class Replacer(Actor):
    """Lays the files of a directory out anew, in a part of their own, in the one order or the other."""

    def __init__(self, name: str, model: Model) -> None:
        super().__init__(name)
        self.model = model

    def work(self, world: World) -> None:
        store, page = world.store, digest_of(self.model)
        objects = ObjectStore(store, TINY)
        try:
            with store.read() as txn:
                seq = txn.layout_seq(page)
            if seq is None:
                return
            files = small_files(objects.page(page).entries)
            parts = {place.key for place in objects.places(page).values()}
            contents = [objects.small_file(page, file) for file in files]
        except GONE:
            return
        order = sorted(range(len(files)), key=lambda number: files[number].name)
        for attempt in (order, order[::-1]):
            data = b"".join(contents[number] for number in attempt)
            part = part_digest(data)
            if part not in parts:
                break
        places, at = {}, 0
        for number in attempt:
            places[number] = Place(Kind.PART, part, at)
            at += len(contents[number])
        layout = encode_layout(page, files, [places[number] for number in range(len(files))])
        with store.writer() as writer:
            writer.put(Kind.PART, part, encode(data, 1))
            writer.replace_layout(page, seq, Stored(Codec.RAW, len(layout), layout), [Ref(Kind.PART, part)])
            try:
                writer.publish()
            except GONE:
                return


class Collector(Actor):
    """Runs the collector once, or a few times; each run ends early when its limits say so."""

    def __init__(self, name: str, times: int = 1, limits: Limits = UNLIMITED) -> None:
        super().__init__(name)
        self.times = times
        self.limits = limits

    def work(self, world: World) -> None:
        for _ in range(self.times):
            world.collect(world.store, self.limits)


@dataclass(frozen=True)
class Scenario:
    """A history and the processes that work on it.

    labels   label -> tree, before they begin
    earlier  label -> a tree it held before
    garbage  trees in the store that no label holds
    lookups  look-ups of one transaction of a publish: few make a push take several, so that it needs a pin
    batch    names in one transaction of the collector
    marked   whether the collector ran before they begin, so that its next mark only looks at what is new
    expires  whether collectors end what has left its window, and take every root there is: else heads are the roots
    steps    about how many there are
    """

    name: str
    actors: tuple[Actor, ...]
    labels: Mapping[str, Model] = field(default_factory=dict)
    earlier: Mapping[str, Model] = field(default_factory=dict)
    garbage: tuple[Model, ...] = ()
    lookups: int = publish.MAX_LOOKUPS
    batch: int = 2
    marked: bool = False
    expires: bool = False
    steps: int = 120

    @property
    def names(self) -> list[str]:
        """Of all processes."""
        return [actor.name for actor in self.actors]

    @property
    def mortal(self) -> list[str]:
        """Those that may be killed."""
        return [actor.name for actor in self.actors if actor.crashable]


_digests: dict[int, Digest] = {}


def digest_of(model: Model) -> Digest:
    """The CA id of a tree."""
    found = _digests.get(id(model))
    if found is None:
        store = MemoryStore(TINY)
        with InlineTreeWriter(ObjectStore(store, TINY)) as writer:
            found = _digests[id(model)] = put_tree(writer, model).digest
    return found
