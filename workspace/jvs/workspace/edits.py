"""Edits of a snapshot in the store, without a directory: only the pages on the way to the root are made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jvs.castore.backend import WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, Directory, Entry, Tree
from jvs.castore.names import display, shorten, split_path
from jvs.castore.treesink import TreeSink
from jvs.castore.treewriter import TreeWriter
from jvs.errors import LabelMovedError, UnknownError, UsageError
from jvs.labels.moves import MoveRequest
from jvs.workspace.push import Outcome, rejected, result_of
from jvs.workspace.results import PushResult, PushStats

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


def remove(repo: Repo, location: str, message: str, expected: str | None) -> PushResult:
    """`fs rm LABEL:PATH`: move the label to its head without that path (a file, a symlink, or a whole directory).

    Without `expected` the head that was edited must still be the head (exit 6 otherwise).
    """
    resolved = repo.resolve(location)
    label = resolved.label
    if label is None or resolved.path is None or location.partition(":")[0] != label:
        raise UsageError("fs rm takes LABEL:PATH", code="bad-path", next="jvs fs rm --help")
    path = split_path(resolved.path)
    if not path:
        raise UsageError("fs rm removes a path, not the whole tree", code="bad-path", next="jvs fs label --delete NAME")
    head = repo.labels.require(label)
    expect = head.generation if expected is None else repo.resolve_expected(expected)
    with TreeWriter(repo.objects) as writer:
        tree = replace(writer, head.ca_id, path, None)
        note = message or f"remove {shorten(display(resolved.path))}"
        # whatever was expected, it is this head that was edited
        request = MoveRequest(label, tree.digest, head.generation, "push", (head.entry_id,), note)

        def finish(txn: WriteTxn) -> Outcome:
            before = repo.labels.get_in(txn, label)
            try:
                repo.labels.compare_in(txn, label, expect)
                entry = repo.labels.move_in(txn, request)
            except LabelMovedError as error:
                repo.labels.record_detached_in(txn, tree.digest, (head.entry_id,))
                return rejected(label, tree.digest, before, error)
            return Outcome("advanced", entry.generation, entry.id, tree.digest, entry.generation)

        outcome = writer.publish(finish)
        assert outcome is not None
        added = writer.stats
    stats = PushStats(tree.entries, tree.bytes, *added)
    return result_of(tree.digest, label, outcome, stats, ())


def replace(sink: TreeSink, root: Digest, path: tuple[bytes, ...], entry: Entry | None) -> Tree:
    """The tree `root` with `entry` at `path` (None: removed). Raises UnknownError when there is nothing to remove, or
    when a directory on the way is missing."""
    objects = sink.objects
    spine = [root]
    above: list[Directory] = []
    for depth in range(1, len(path)):
        step = objects.resolve(root, path[:depth]).entry
        if step[1] != DIRECTORY:
            raise UnknownError(f"not a directory: {display(b'/'.join(path[:depth]))}", code="unknown-path")
        above.append(step)
        spine.append(objects.descend(step))
    if entry is None:
        objects.resolve(root, path)
    tree = sink.edit(spine[-1], {path[-1]: entry})
    for base, step in zip(reversed(spine[:-1]), reversed(above), strict=True):
        tree = sink.edit(base, {step.name: Directory(step.name, DIRECTORY, step.mode, *tree)})
    return tree
