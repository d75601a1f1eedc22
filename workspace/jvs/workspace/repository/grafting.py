"""`jvs restore --path`: some paths become what they were at a save point; the rest of the worktree stays as it is, and
so does where it stands.

What the directory is now becomes a snapshot, and that with the paths of the save point in it is what is then checked
out: by reference, so that no content is copied. Unsaved work at the paths is an autosave first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from jvs.castore.backend import WriteTxn
from jvs.castore.binding import Binding
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, EMPTY_TREE, Directory, Entry, Tree
from jvs.castore.names import display
from jvs.castore.objects import Located
from jvs.castore.pages import find
from jvs.castore.treewriter import TreeWriter
from jvs.errors import UnknownError
from jvs.workspace import directories, pull
from jvs.workspace.reading import pinned
from jvs.workspace.repository.restore import BEFORE, Restored, RestoreOptions, Work
from jvs.workspace.repository.savepoints import SavePoint

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo
    from jvs.workspace.repository.repository import Repository

Path = tuple[bytes, ...]


def restore_paths(
    repository: Repository,
    name: str,
    binding: Binding,
    one: SavePoint,
    root: Digest,
    options: RestoreOptions,
    progress: Progress | None,
) -> Restored:
    """Make `options.paths` what they are in the snapshot `root`. The caller holds the worktree's lock. Raises
    UnknownError (unknown-path) for a path that is not in it."""
    repo, directory = repository.repo, repository.directory(name)
    found = [(path, _located(repo, root, path, one)) for path in options.paths]
    with pinned(repo, root, what="restore"):
        base = directories.base_of(repo, binding, None)

        def keep(txn: WriteTxn, ca_id: Digest) -> bool:
            repo.labels.record_detached_in(txn, ca_id, () if binding.entry_id is None else (binding.entry_id,))
            return True

        now, _ = pull.store_as_it_is(repo, directory, binding, base, keep)
        autosaved = None
        unsaved = any(_is_unsaved(repo, base, now, root, path) for path, _ in found)
        if unsaved and not options.dry_run:
            _, autosaved = pull.autosave(repo, directory, binding, base, None, before=BEFORE)
        target = graft(repo, now, root, found)
        work = Work(repository, name, binding, options.force, progress)
        if options.dry_run:
            done = work.rehearse(target, now)
        else:
            shown = [display(b"/".join(path)) for path in options.paths]
            done, again = work.journaled(target, binding, one, reason=options.reason, before=now, paths=shown)
            autosaved = again or autosaved
    return Restored(name, one, binding.detached, autosaved, done, tuple(options.paths), options.dry_run, unsaved)


def graft(repo: Repo, onto: Digest, source: Digest, found: Sequence[tuple[Path, Located | None]]) -> Digest:
    """The snapshot `onto` with what the snapshot `source` has at these paths (None: all of it is what is meant), kept
    for 24 hours."""
    tree = onto
    for path, located in found:
        if located is None:
            tree = source
            continue
        with TreeWriter(repo.objects) as writer:  # each of its own: what one made the next can only read from the store
            made = _put(writer, None if tree == EMPTY_TREE.digest else tree, source, path, 0, located).digest
            writer.publish(partial(_keep, repo, made))
        tree = made
    return tree


def store_empty(repo: Repo) -> None:
    """Have the empty tree in the store for 24 hours: nobody may have stored its page yet."""
    with TreeWriter(repo.objects) as writer:
        made = writer.directory().finish().digest
        writer.publish(partial(_keep, repo, made))


def _keep(repo: Repo, made: Digest, txn: WriteTxn) -> None:
    repo.labels.record_detached_in(txn, made)


def _put(writer: TreeWriter, base: Digest | None, source: Digest, path: Path, depth: int, located: Located) -> Tree:
    """The directory `base` (None: a new one) at the first `depth` names of the path, with what was located in it."""
    objects, name = writer.objects, path[depth]
    if depth == len(path) - 1:
        entry: Entry = located.entry
    else:
        above = objects.resolve(source, path[: depth + 1]).entry
        there = None if base is None else find(objects.page, base, name)
        known = None if there is None or there[1][1] != DIRECTORY else there[1]
        below = _put(writer, None if known is None else objects.descend(known), source, path, depth + 1, located)
        assert above[1] == DIRECTORY
        entry = Directory(name, DIRECTORY, (known or above).mode, *below)
    if base is not None:
        return writer.edit(base, {name: entry}, sources=[located.page])
    made = writer.directory()
    made.add(entry, source=located.page if entry is located.entry else None)
    return made.finish()


def _located(repo: Repo, root: Digest, path: Path, one: SavePoint) -> Located | None:
    if not path:
        return None
    found = repo.objects.find(root, path)
    if found is None:
        shown = display(b"/".join(path))
        raise UnknownError(
            f"there is no {shown} in the snapshot {one.short_id}",
            code="unknown-path",
            next=f"jvs fs tree {one.descriptor_checksum[:12]}",
            path=shown,
        )
    return found


def _is_unsaved(repo: Repo, base: Digest | None, now: Digest, root: Digest, path: Path) -> bool:
    """Whether something at the path would be replaced that is in no snapshot but the one just made. What stands where
    the path needs a directory is replaced too."""
    for length in range(1, len(path)):
        above = _content(repo, now, path[:length])
        if above is None:
            return False
        if isinstance(above, bytes) or above[1] != DIRECTORY:
            return above != _content(repo, base, path[:length])
    before, there, comes = (_content(repo, one, path) for one in (base, now, root))
    return there is not None and there not in (before, comes)


def _content(repo: Repo, root: Digest | None, path: Path) -> Entry | Digest | None:
    if root is None or root == EMPTY_TREE.digest:
        return None
    if not path:
        return root
    found = repo.objects.find(root, path)
    return None if found is None else found.entry
