"""`fs merge --all`: many branches at once, and which of them go together."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.backend import WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.names import json_fields
from jvs.errors import CollectedError, JvsError, LabelMovedError, StateError, UsageError
from jvs.labels.lineage import common_bases
from jvs.labels.model import Entry
from jvs.labels.moves import MoveRequest
from jvs.merge.model import Conflict
from jvs.merge.octopus import Clash, ManyMerge, merge_many
from jvs.workspace.merging.merge import MergeOptions, rules_for, writer_of
from jvs.workspace.merging.operands import Operand, operand, tree_of
from jvs.workspace.merging.results import SHOWN_CONFLICTS
from jvs.workspace.reading import pinned
from jvs.workspace.results import Json, optional_hex

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


_BASE = "give a base yourself: --base REV"


class ShownClash(NamedTuple):
    """Branches that do not go together: the last one with the ones before it."""

    names: tuple[str, ...]
    conflicts: tuple[Conflict, ...]

    def as_json(self) -> Json:
        """{revisions, conflicts: [{path, kind, where}], total_conflicts}."""
        shown = [
            {**json_fields(b"/".join(one.path)), "kind": one.kind, "where": places(one)}
            for one in self.conflicts[:SHOWN_CONFLICTS]
        ]
        return {"revisions": list(self.names), "conflicts": shown, "total_conflicts": len(self.conflicts)}


class ManyResult(NamedTuple):
    """`fs merge --all`. status: merged, or conflict when some were left out (then `error` is set, exit 7).

    ca_id         the merge of the largest set found
    merged, left  revisions as they were typed
    """

    status: str
    ca_id: Digest | None
    base: Digest
    merged: tuple[str, ...]
    left: tuple[str, ...]
    clashes: tuple[ShownClash, ...]
    label: str | None = None
    generation: int | None = None
    entry_id: Digest | None = None
    dry_run: bool = False
    error: JvsError | None = None

    def as_json(self) -> Json:
        """The fields, digests in hex."""
        return {
            "status": self.status,
            "ca_id": optional_hex(self.ca_id),
            "base": self.base.hex(),
            "merged": list(self.merged),
            "left": list(self.left),
            "clashes": [clash.as_json() for clash in self.clashes],
            "label": self.label,
            "generation": self.generation,
            "entry_id": optional_hex(self.entry_id),
            "dry_run": self.dry_run,
        }


def places(conflict: Conflict) -> list[str]:
    """Where in a file the sides clash."""
    return [] if conflict.merged is None else [region.where for region in conflict.merged.conflicts]


def merge_all(repo: Repo, revisions: Sequence[str], options: MergeOptions) -> ManyResult:
    """Merge many revisions over what they all have in common, as far as they go together; the order in which they are
    given makes no difference.

    `options`: base, style, into, message, retries, dry_run count. A label is moved only when everything merged.
    """
    options.check()
    if len(revisions) < 2:
        raise UsageError("--all merges two revisions or more", next="jvs fs merge --help")
    for attempt in range(options.retries + 1):
        sides = [operand(repo, text) for text in sorted(set(revisions))]
        try:
            return _attempt(repo, sides, options)
        except LabelMovedError:
            if attempt == options.retries:
                raise
    raise AssertionError("the last attempt returns or raises")


def _attempt(repo: Repo, sides: Sequence[Operand], options: MergeOptions) -> ManyResult:
    base = _base(repo, sides, options)
    target = None if options.into is None else _target(repo, options.into, base, sides)
    heads = tuple(dict.fromkeys(side.ca_id for side in sides))
    with pinned(repo, base, *heads, what="merge"), writer_of(repo, options) as writer:
        rules = rules_for(repo.objects, base, base, base, options)
        found = merge_many(writer, base, heads, rules)
        result = _answer(sides, base, found, options)
        if options.dry_run:
            return result
        ca_id = found.tree.digest
        inside = [side for side in sides if side.ca_id not in found.left]
        parents = tuple(dict.fromkeys(entry for side in inside for entry in side.sources))
        if target is None or result.error is not None:
            writer.publish(lambda txn: repo.labels.record_detached_in(txn, ca_id, parents))
            return result
        generation, entry_id = target
        message = options.message or f"merge {', '.join(result.merged)}"
        above = tuple(dict.fromkeys(((entry_id,) if entry_id else ()) + parents))
        request = MoveRequest(options.into or "", ca_id, generation, "merge", above, message)

        def move(txn: WriteTxn) -> Entry:
            return repo.labels.move_in(txn, request)

        entry = writer.publish(move)
        assert entry is not None
        return result._replace(label=options.into, generation=entry.generation, entry_id=entry.id)


def _answer(sides: Sequence[Operand], base: Digest, found: ManyMerge, options: MergeOptions) -> ManyResult:
    names: dict[Digest, list[str]] = {}
    for side in sides:
        names.setdefault(side.ca_id, []).append(side.text)
    left = tuple(text for head in found.left for text in names[head])
    merged = tuple(side.text for side in sides if side.text not in left)
    clashes = tuple(_shown(clash, names) for clash in found.clashes)
    error = None
    if left:
        other = next((clash.names[0] for clash in clashes if clash.names[-1] == left[0]), merged[0])
        error = StateError(
            f"not everything goes together: left out {', '.join(left)}",
            code="merge-conflict",
            next=f"{shlex.join(['jvs', 'fs', 'merge', other, left[0]])} --out DIR (to settle it by hand)",
        )
    return ManyResult(
        "conflict" if left else "merged",
        found.tree.digest,
        base,
        merged,
        left,
        clashes,
        dry_run=options.dry_run,
        error=error,
    )


def _shown(clash: Clash, names: dict[Digest, list[str]]) -> ShownClash:
    return ShownClash(tuple(names[head][0] for head in clash.heads), clash.conflicts)


def _base(repo: Repo, sides: Sequence[Operand], options: MergeOptions) -> Digest:
    """The snapshot of the newest entry that everything came from. Raises StateError when there is none."""
    if options.base is not None:
        return repo.snapshot_of(repo.resolve(options.base))
    common: Sequence[Digest] = sides[0].sources
    with repo.store.read() as txn:
        for side in sides[1:]:
            try:
                common = common_bases(txn, common, side.sources)
            except CollectedError as error:
                error.next = _BASE
                raise
    if not common:
        raise StateError("the revisions have no common ancestor", code="no-merge-base", next=_BASE)
    try:
        return tree_of(repo, common[0])
    except CollectedError as error:
        error.next = _BASE
        raise


def _target(repo: Repo, into: str, base: Digest, sides: Sequence[Operand]) -> tuple[int | None, Digest | None]:
    """(generation, newest entry) of the label to move: absent, at the base or at one of the sides."""
    head = repo.labels.get(into)
    if head is None:
        return None, None
    if head.ca_id != base and all(head.ca_id != side.ca_id for side in sides):
        raise LabelMovedError(
            f"{into} stands at {head.ca_id.hex()[:12]}, which is none of what is merged",
            next=shlex.join(["jvs", "fs", "merge", "--all", into, *(side.text for side in sides), "--into", into]),
            label=into,
            current=head.ca_id.hex(),
            current_generation=head.generation,
        )
    return head.generation, head.entry_id
