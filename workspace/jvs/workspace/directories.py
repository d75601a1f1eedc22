"""Directories on disk as the use-cases see them: their stat index, and one way to scan them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jvs.castore import binding as bindings
from jvs.castore.binding import Binding, UnappliedMode
from jvs.castore.digest import Digest
from jvs.castore.ingest.assist import Assistant
from jvs.castore.ingest.ingest import IngestResult, ingest
from jvs.castore.ingest.statindex import StatIndex
from jvs.castore.manifest import SYMLINK
from jvs.castore.names import is_control_name, split_path
from jvs.castore.treesink import TreeSink
from jvs.errors import NoStoreError, UsageError
from jvs.workspace.repository.layout import MAIN, Place, place_of

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo

MAX_INDEXES = 256
"""How many stat indexes a store keeps."""
_FOLDER = "directories"


def worktree_of(repo: Repo, directory: str) -> Place | None:
    """The worktree that an existing directory is, of a repository that has this store; None: it is none. Control data
    of another user is not believed, unless the store itself lies there, which whoever opened it did believe."""
    place = place_of(directory)
    if place is None:
        return None
    try:
        store = place.layout.store()
    except NoStoreError:
        return None
    control = os.path.realpath(place.layout.control)
    if os.path.realpath(store) != os.path.realpath(repo.store.path):
        return None
    believed = control == os.path.realpath(store) or os.stat(control).st_uid in (0, os.geteuid())
    return place if believed else None


def binding_file(repo: Repo, directory: str) -> str:
    """Where the binding of an existing directory is recorded: for a worktree in its repository, where it stays when all
    of that is moved or copied; else in the store's cache."""
    place = worktree_of(repo, directory)
    return bindings.record_file(repo.cache_dir, directory) if place is None else place.layout.binding(place.name)


def load_binding(repo: Repo, directory: str) -> Binding | None:
    """What an existing directory is bound to (see `castore.binding`)."""
    place = worktree_of(repo, directory)
    if place is None:
        return bindings.load(repo.cache_dir, directory)
    from jvs.workspace.repository import position  # most directories are no worktrees

    return position.settled(repo, place)


def save_binding(repo: Repo, directory: str, binding: Binding) -> None:
    """Record what an existing directory is bound to. Raises OSError."""
    place = worktree_of(repo, directory)
    if place is None:
        bindings.save(repo.cache_dir, directory, binding)
    else:
        from jvs.workspace.repository import position

        position.save(repo, place, binding)


def bound(repo: Repo) -> Iterator[tuple[bytes, Binding]]:
    """(path, binding) of every directory that is known and still there; worktrees of a repository whose store lies
    elsewhere are not known to it."""
    yield from bindings.bound(repo.cache_dir)
    from jvs.workspace.repository.position import layout_of

    layout = layout_of(repo)
    if layout is not None:
        folder = os.path.dirname(layout.record(MAIN))
        for found in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
            path, binding = layout.path(found), bindings.read(layout.binding(found))
            if binding is not None and os.path.isdir(path):
                yield os.fsencode(path), binding


def stat_index(repo: Repo, directory: str, known_as: str | None = None) -> StatIndex:
    """The stat index of a directory that exists, in the store's `cache/`; close it after use. known_as: the path it has
    been at, or will be, if its index is the one for that path."""
    info = os.stat(directory)
    key = bindings.key_at(os.fsencode(os.path.realpath(known_as or directory)), info)
    return StatIndex(index_file(repo, key), bytes.fromhex(repo.store.uuid), (info.st_dev, info.st_ino))


def index_file(repo: Repo, key: str) -> str:
    """Where the stat index is of the directory with that key (see `castore.binding`)."""
    return os.path.join(repo.cache_dir, _FOLDER, f"{key}.index")


def check_apart(repo: Repo, directory: str) -> None:
    """Raise UsageError (bad-path) where the directory and the store are in each other's way: a pull would take the
    store's own files for what it may remove, a push would store them. A store below the directory is left alone only
    under the name `.jvs`."""
    store, place = os.path.realpath(repo.store.path), os.path.realpath(directory)
    if store == place or place.startswith(os.path.join(store, "")):
        raise UsageError(
            f"{directory} lies in the store itself ({store})",
            code="bad-path",
            next="name a directory outside the store",
        )
    if store.startswith(os.path.join(place, "")):
        between = os.path.relpath(store, place).split(os.sep)
        if not any(is_control_name(os.fsencode(name)) for name in between):
            raise UsageError(
                f"the store {store} lies in {directory} under a name that is not .jvs: it would be taken for content",
                code="bad-path",
                next=f"mv {store} {os.path.join(os.path.dirname(store), '.jvs')}",
            )


def prune_indexes(repo: Repo) -> None:
    """Keep the MAX_INDEXES newest stat indexes: agents push from directories that soon are gone. One that is missed
    costs a push that reads everything; bindings are small, matter more, and stay."""
    folder = os.path.join(repo.cache_dir, _FOLDER)
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".index")]
    except FileNotFoundError:
        return
    if len(names) <= MAX_INDEXES + MAX_INDEXES // 4:  # not at every push
        return
    aged: list[tuple[int, str]] = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            aged.append((os.stat(os.path.join(folder, name)).st_mtime_ns, name))
    for _, name in sorted(aged)[: len(aged) - MAX_INDEXES]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))


def scan(
    repo: Repo,
    directory: str,
    sink: TreeSink,
    *,
    binding: Binding | None,
    base: Digest | None,
    index: StatIndex,
    rehash: bool = False,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
    assistant: Assistant | None = None,
) -> IngestResult:
    """Read a directory as a push sees it. base: the snapshot it is nearest to, if it is still in the store."""
    pending = None if binding is None else binding.pending
    return ingest(
        sink,
        directory,
        base=base,
        index=index,
        rehash=rehash,
        skip_unreadable=skip_unreadable,
        leftovers_token=None if pending is None else pending.token,
        unapplied=None if binding is None else binding.unapplied,
        progress=None if progress is None else lambda entries, size: progress.update(size, None, entries),
        assistant=assistant,
    )


def base_of(repo: Repo, binding: Binding | None, otherwise: Digest | None) -> Digest | None:
    """What a scan compares with: what the directory is bound to, or `otherwise`; None when the store lacks it."""
    bound = None if binding is None or binding.ca_id is None else repo.standing(binding.ca_id)
    known = otherwise if bound is None else bound
    return known if known is not None and repo.has_snapshot(known) else None


def still_unapplied(repo: Repo, binding: Binding, ca_id: Digest) -> dict[bytes, UnappliedMode]:
    """The permission bits a pull could not apply that the snapshot just pushed still has: a file that is gone leaves
    none to the next one of its name."""
    still: dict[bytes, UnappliedMode] = {}
    for path, modes in binding.unapplied.items():
        found = repo.objects.find(ca_id, split_path(path))
        if found is not None and found.entry[1] != SYMLINK and found.entry[2] == modes.wanted:
            still[path] = modes
    return still


def settle(repo: Repo, directory: str, binding: Binding | None) -> None:
    """Before an autosave: take away what a killed pull left lying in the directory."""
    if binding is not None and binding.pending is not None:
        base = base_of(repo, binding, None)
        if repo.has_snapshot(binding.pending.target):
            from jvs.castore.checkout import recover  # hardly ever needed by a push

            recover(repo.objects, directory, base, binding.pending)


def look(repo: Repo, directory: str, sink: TreeSink) -> Digest:
    """The id a push of the directory would give it now; nothing is stored or recorded."""
    check_apart(repo, directory)
    binding = load_binding(repo, directory)
    with stat_index(repo, directory) as index:
        base = base_of(repo, binding, None)
        found = scan(repo, directory, sink, binding=binding, base=base, index=index, skip_unreadable=True)
        if found.new_index is not None:
            found.new_index.close()
        return found.tree.digest
