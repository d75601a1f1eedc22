"""`fs merge OURS THEIRS`: find the base, merge, and (with `--into`) move a label, all or nothing.

A label that moves while its merge is made is merged again, up to `retries` times; a conflict moves nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.backend import WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.errors import LabelMovedError, MissingChildrenError, StateError, UsageError
from jvs.labels.lineage import common_bases
from jvs.labels.model import Entry, Expect
from jvs.labels.moves import MoveRequest
from jvs.labels.names import check_label_name
from jvs.merge.content import Contents, Merged, Names, Options, Prefer, Style
from jvs.merge.drivers.chain import decide, merge_content
from jvs.merge.explain import explained
from jvs.merge.layer import layered
from jvs.merge.model import Decision, Rules, TreeMerge
from jvs.merge.octopus import transfer
from jvs.merge.recursive import VirtualBase
from jvs.merge.trees import merge_trees
from jvs.workspace.merging.attributes import TreeAttributes
from jvs.workspace.merging.operands import Bases, Operand, brief, check_sides, find_bases, operand, tree_of
from jvs.workspace.merging.recorded import Recorded
from jvs.workspace.merging.results import Applied, MergeResult, show_conflicts
from jvs.workspace.reading import pinned

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

RETRIES = 10
"""How often a merge is made again because its label moved meanwhile."""


class MergeOptions(NamedTuple):
    """What `fs merge` was asked to do; see the options of the command of the same names."""

    base: str | None = None
    two_way: bool = False
    prefer: Prefer = "none"
    style: Style = "merge"
    into: str | None = None
    message: str = ""
    out: str | None = None
    retries: int = RETRIES
    explain: bool = False
    recorded: bool = True
    dry_run: bool = False
    moved: Callable[[WriteTxn, Entry], None] | None = None
    """Called in the transaction that moves the label, once it has; again when that begins anew."""

    def check(self) -> None:
        """Raise UsageError for what cannot be meant together, and for a malformed label name."""
        if self.into is not None:
            check_label_name(self.into)
        if self.prefer not in ("none", "ours", "theirs"):
            raise UsageError(f"--prefer takes ours, theirs or none, not {self.prefer}", next="jvs fs merge --help")
        if self.style not in ("merge", "diff3"):
            raise UsageError(f"--style takes merge or diff3, not {self.style}", next="jvs fs merge --help")
        if self.retries < 0:
            raise UsageError("--retries takes 0 or more", next="jvs fs merge --help")


class Target(NamedTuple):
    """The label that a merge moves: what it must be, and where it stands (None: it is to be made)."""

    name: str
    expect: Expect
    generation: int | None
    entry_id: Digest | None


class Prepared(NamedTuple):
    """A merge that was made and not yet published."""

    ours: Operand
    theirs: Operand
    base: Digest | None
    bases: int
    forward: Digest | None
    tree: TreeMerge | None
    decisions: tuple[Decision, ...]
    recorded: tuple[Applied, ...]
    notes: tuple[str, ...]

    @property
    def parents(self) -> tuple[Digest, ...]:
        """The entries that the result comes from."""
        return tuple(dict.fromkeys((*self.ours.sources, *self.theirs.sources)))


def merge(repo: Repo, ours: str, theirs: str, options: MergeOptions) -> MergeResult:
    """Merge two revisions; see `MergeOptions`.

    Raises LabelMovedError when the label of `into` is not where OURS is (any more), UnknownError, CollectedError (of
    the base) and UsageError. A conflict is no exception: `MergeResult.error` is set.
    """
    options.check()
    for attempt in range(1, options.retries + 2):
        left, right = operand(repo, ours), operand(repo, theirs)
        check_sides(left, right, options.base, two_way=options.two_way)
        target = _target(repo, options.into, left, right)
        try:
            done = _attempt(repo, left, right, options, target)
        except LabelMovedError:
            if attempt > options.retries:
                raise
        except MissingChildrenError:  # what it found to be there was collected since
            if attempt > options.retries:
                raise
            repo.objects.forget()
        else:
            return done._replace(attempts=attempt)
    raise AssertionError("the last attempt returns or raises")


def push_with_merge(
    repo: Repo,
    label: str,
    snapshot: str,
    base: str | None = None,
    retries: int = RETRIES,
    message: str = "",
    moved: Callable[[WriteTxn, Entry], None] | None = None,
) -> MergeResult:
    """The loop that whoever works beside others needs: move `label` to a snapshot that was made from an earlier head
    of it; when the label has moved since, merge both, and try again as often as it goes on moving.

    snapshot  a revision, for instance the CA id of a push that was rejected
    base      the revision it was made from; None: the history knows (a rejected or detached push from a directory)
    moved     see `MergeOptions`
    Raises what `merge` does; a conflict is in the result.
    """
    repo.labels.require(label)
    options = MergeOptions(base=base, into=label, retries=retries, message=message, moved=moved)
    return merge(repo, label, snapshot, options)


def _attempt(repo: Repo, ours: Operand, theirs: Operand, options: MergeOptions, target: Target | None) -> MergeResult:
    bases = find_bases(repo, ours, theirs, options.base, two_way=options.two_way)
    read = (bases.given, *bases.contents, ours.ca_id, theirs.ca_id)
    with pinned(repo, *read, what="merge"), writer_of(repo, options) as writer:
        prepared = prepare(repo, writer, ours, theirs, bases, options)
        result = answer(prepared, options)
        if options.dry_run:
            return result
        if result.error is not None:
            return _leave(repo, writer, prepared, result, options)
        return _publish(repo, writer, prepared, result, options, target)


def writer_of(repo: Repo, options: MergeOptions) -> TreeWriter:
    """What the merge is written to: of a dry run a layer in memory, which nobody publishes."""
    return layered(repo.objects)[1] if options.dry_run else TreeWriter(repo.objects)


def prepare(
    repo: Repo, writer: TreeWriter, ours: Operand, theirs: Operand, bases: Bases, options: MergeOptions
) -> Prepared:
    """Merge over these bases; what is new is given to `writer`."""
    notes: tuple[str, ...] = (bases.note,) if bases.note else ()
    forward = _forward(ours, theirs, bases)
    if forward is not None:
        base = bases.contents[0] if bases.contents else bases.given
        decisions = _forward_decisions(repo, base, ours, theirs, forward) if options.explain else ()
        return Prepared(ours, theirs, base, 1, forward, None, decisions, (), notes)
    recorded = Recorded(repo.store.path) if options.recorded else None
    why: dict[bytes, str] = {}
    with virtual_base(repo, options) as virtual:
        base = virtual.tree(bases.entries) if bases.entries else bases.given
        rules = rules_for(virtual.objects, base, ours.ca_id, theirs.ca_id, options, why)
        rules = rules._replace(
            options=rules.options._replace(names=Names(ours.name, b"base", theirs.name)), recorded=recorded
        )
        merged = merge_trees(writer, base, ours.ca_id, theirs.ca_id, rules, objects=virtual.objects)
        if options.explain:
            told = explained(virtual.objects, base, ours.ca_id, theirs.ca_id, merged.decisions)
            merged = merged._replace(decisions=tuple(_with_reasons(one, why) for one in told))
        if merged.conflicts and len(bases.contents) > 1 and base is not None and not options.dry_run:
            transfer(writer, virtual.objects, bases.contents, base)  # so that what the sides had in common can be read
        if virtual.simplified:
            notes += ("the history needs too many merges for a base: one of several bases was taken as it is",)
    applied = () if recorded is None else tuple(Applied(*one) for one in recorded.applied)
    number = len(bases.entries) or int(base is not None)
    return Prepared(ours, theirs, base, number, None, merged, merged.decisions, applied, notes)


def _forward_decisions(
    repo: Repo, base: Digest | None, ours: Operand, theirs: Operand, forward: Digest
) -> tuple[Decision, ...]:
    """What one side has that contains the other: all of it is taken."""
    side = "ours" if forward == ours.ca_id else "theirs"
    whole = Decision((), "pruned", side, True)
    return tuple(explained(repo.objects, base, ours.ca_id, theirs.ca_id, (whole,)))


def virtual_base(repo: Repo, options: MergeOptions) -> VirtualBase[Digest]:
    """Makes one base of several entries."""

    def bases_of(left: Sequence[Digest], right: Digest) -> list[Digest]:
        with repo.store.read() as txn:
            return common_bases(txn, left, (right,))

    plain = Rules(merge_content, Options(style=options.style))
    return VirtualBase(repo.objects, plain, lambda entry: tree_of(repo, entry), bases_of)


def rules_for(
    objects: ObjectStore,
    base: Digest | None,
    ours: Digest,
    theirs: Digest,
    options: MergeOptions,
    why: dict[bytes, str] | None = None,
) -> Rules:
    """How these trees are merged: the drivers that their attributes choose, and the options of the merge. why: is
    filled with what the drivers say of each path they were asked about."""
    attributes = TreeAttributes(objects, base, ours, theirs)

    def content(path: bytes, contents: Contents, given: Options) -> Merged | None:
        decision = decide(path, contents, given, attributes.of(path))
        if why is not None and options.explain:
            why[path] = decision.explain
        return decision.merged

    return Rules(content, Options(prefer=options.prefer, style=options.style), explain=options.explain)


def _with_reasons(decision: Decision, why: dict[bytes, str]) -> Decision:
    """The decision with what the drivers said of its path."""
    said = why.get(b"/".join(decision.path))
    return decision if said is None else decision._replace(detail="; ".join(filter(None, (decision.detail, said))))


def _forward(ours: Operand, theirs: Operand, bases: Bases) -> Digest | None:
    """The snapshot of the side that contains the other, if one does."""
    if bases.entries:
        if bases.contents == (ours.ca_id,):
            return theirs.ca_id
        return ours.ca_id if theirs.itself and bases.entries == theirs.sources else None
    if bases.given is None:
        return ours.ca_id if ours.ca_id == theirs.ca_id else None
    if bases.given == ours.ca_id:
        return theirs.ca_id
    return ours.ca_id if bases.given == theirs.ca_id else None


def answer(prepared: Prepared, options: MergeOptions) -> MergeResult:
    """The result of a merge that is not published (yet)."""
    ours, theirs, tree = prepared.ours, prepared.theirs, prepared.tree
    if tree is None:
        return MergeResult(
            "merged",
            prepared.forward,
            ours.ca_id,
            theirs.ca_id,
            prepared.base,
            prepared.bases,
            fast_forward=True,
            decisions=prepared.decisions if options.explain else None,
            notes=prepared.notes,
            dry_run=options.dry_run,
        )
    # of several bases one was made in memory, which a dry run does not store
    base = None if options.dry_run and prepared.bases > 1 else prepared.base
    snapshots = (base, ours.ca_id, theirs.ca_id)
    return MergeResult(
        "merged" if tree.clean else "conflict",
        tree.tree.digest if tree.clean else None,
        ours.ca_id,
        theirs.ca_id,
        prepared.base,
        prepared.bases,
        conflicts=show_conflicts(tree.conflicts, snapshots),
        total_conflicts=len(tree.conflicts),
        settled=tree.settled,
        recorded=prepared.recorded,
        decisions=prepared.decisions if options.explain else None,
        suggestions=tree.suggestions,
        notes=(*prepared.notes, *tree.notes),
        dry_run=options.dry_run,
        error=None if tree.clean else _conflict_error(ours, theirs, len(tree.conflicts), options),
    )


def _conflict_error(ours: Operand, theirs: Operand, number: int, options: MergeOptions) -> StateError:
    words = ["jvs", "fs", "merge", brief(ours.text), brief(theirs.text)]
    words += [] if options.base is None else ["--base", brief(options.base)]
    words += ["--two-way"] if options.two_way else []
    words += [] if options.into is None else ["--into", options.into]
    next = f"{shlex.join(words)} --out DIR (to settle it by hand), or --prefer ours|theirs"
    if options.out is not None and not options.dry_run:
        resolve = shlex.join(["jvs", "fs", "resolve", options.out])
        next = f"edit the files in {options.out}, then: {resolve}"
    paths = "1 path is" if number == 1 else f"{number:,} paths are"
    message = f"{brief(ours.text)} and {brief(theirs.text)} clash: {paths} in conflict"
    return StateError(message, code="merge-conflict", next=next)


# -- the label


def _target(repo: Repo, into: str | None, ours: Operand, theirs: Operand) -> Target | None:
    """The label to move, which is absent or stands at OURS. Raises LabelMovedError."""
    if into is None:
        return None
    if ours.label == into:  # as it was when it was looked up: should it have moved since, the merge is made again
        return Target(into, ours.generation, ours.generation, ours.sources[0])
    head = repo.labels.get(into)
    if head is None:
        return Target(into, None, None, None)
    if head.ca_id != ours.ca_id:
        raise LabelMovedError(
            f"{into} stands at {head.ca_id.hex()[:12]}, not at {ours.text}",
            next=shlex.join(["jvs", "fs", "merge", into, theirs.text, "--into", into]),
            label=into,
            current=head.ca_id.hex(),
            current_generation=head.generation,
        )
    return Target(into, head.generation, head.generation, head.entry_id)


def _publish(
    repo: Repo,
    writer: TreeWriter,
    prepared: Prepared,
    result: MergeResult,
    options: MergeOptions,
    target: Target | None,
) -> MergeResult:
    assert result.ca_id is not None
    ca_id, parents = result.ca_id, prepared.parents
    if target is None:
        if prepared.forward is None:
            writer.publish(lambda txn: repo.labels.record_detached_in(txn, ca_id, parents))
        return result
    if ca_id == prepared.ours.ca_id and target.entry_id is not None and prepared.forward is not None:
        return result._replace(label=target.name, generation=target.generation, entry_id=target.entry_id)
    message = options.message or f"merge {brief(prepared.theirs.text)} into {target.name}"
    if target.entry_id is not None:  # what is merged into is a parent, whatever revision it was named by
        parents = tuple(dict.fromkeys((target.entry_id, *prepared.theirs.sources)))
    request = MoveRequest(target.name, ca_id, target.expect, "merge", parents, message)

    def move(txn: WriteTxn) -> Entry:
        entry = repo.labels.move_in(txn, request)
        if options.moved is not None:
            options.moved(txn, entry)
        return entry

    entry = writer.publish(move)
    assert entry is not None
    return result._replace(label=target.name, generation=entry.generation, entry_id=entry.id)


def _leave(
    repo: Repo, writer: TreeWriter, prepared: Prepared, result: MergeResult, options: MergeOptions
) -> MergeResult:
    """What a conflict leaves behind for 24 hours: the base that was made of several, and with `out` the conflicted
    tree, which is written out to be settled by hand."""
    from jvs.workspace.merging.worksite import lay_out

    assert prepared.tree is not None
    left = [] if options.out is None else [(prepared.tree.tree.digest, prepared.parents)]
    if prepared.bases > 1 and prepared.base is not None:
        left.append((prepared.base, ()))

    def leave(txn: WriteTxn) -> None:
        for ca_id, parents in left:
            repo.labels.record_detached_in(txn, ca_id, parents)

    if left:
        writer.publish(leave)
    if options.out is None:
        return result
    lay_out(repo, prepared, options)
    return result._replace(ca_id=prepared.tree.tree.digest, directory=options.out)
