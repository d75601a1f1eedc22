"""What a mount shows beside the trees: `.jvs` with what is mounted, and the labels of `--all`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Final

from jvs.castore.digest import Digest
from jvs.castore.gc.pins import Pin, pin_snapshot
from jvs.castore.names import display
from jvs.errors import JvsError
from jvs.labels import revisions
from jvs.overlay.basefile import BaseFiles
from jvs.overlay.fuse.trees import CONTROL, SnapshotView
from jvs.overlay.fuse.views import Attributes, Entry, View
from jvs.overlay.fuse.virtual import TextsView
from jvs.overlay.nodes import Directory, Node, derived_ino

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo
    from jvs.workspace.sessions import Session

_ROOT: Final = 2**60
LABEL_SECONDS: Final = 1.0
"""How long a label may have moved before a mount of all of them shows it."""


def fixed_texts(store: str, label: str | None, generation: int | None, base: Digest) -> TextsView:
    """`.jvs` of a snapshot."""
    return TextsView(
        {
            b"label": lambda: _line(label),
            b"base": lambda: _line(base.hex()),
            b"generation": lambda: _line(generation if label is not None else None),
            b"changes": lambda: b"",
            b"store": lambda: os.fsencode(store) + b"\n",
        },
        store,
    )


def session_texts(store: str, session: Session) -> TextsView:
    """`.jvs` of a session, as it is when it is read."""

    def changes() -> bytes:
        return "".join(f"{change.status} {display(change.path)}\n" for change in session.changes()).encode()

    return TextsView(
        {
            b"label": lambda: _line(session.origin.label),
            b"base": lambda: _line(session.base.hex()),
            b"generation": lambda: _line(session.origin.generation if session.origin.label is not None else None),
            b"changes": changes,
            b"session": lambda: _line(session.name),
            b"store": lambda: os.fsencode(store) + b"\n",
        },
        store,
    )


def _line(value: str | int | None) -> bytes:
    return b"" if value is None else f"{value}\n".encode()


class PinnedView(SnapshotView):
    """A snapshot that is pinned from when it is first looked into until it is released."""

    def __init__(
        self, repo: Repo, files: BaseFiles, root: Digest, time_ns: int, gone: Callable[[PinnedView], None]
    ) -> None:
        super().__init__(files, repo.objects, root, time_ns, repo.store.path)
        self._repo = repo
        self._snapshot = root
        self._gone = gone
        self._pin: Pin | None = None
        self._pinning = Lock()

    def _keep(self) -> None:
        if self._pin is None and not self._repo.store.readonly:
            with self._pinning:
                if self._pin is None:
                    self._pin = pin_snapshot(self._repo.store, self._snapshot, "mount")

    def lookup(self, directory: Directory, name: bytes) -> tuple[View, Node] | None:
        """As `View.lookup`."""
        self._keep()
        return super().lookup(directory, name)

    def entries(self, directory: Directory) -> Sequence[Entry]:
        """As `View.entries`."""
        self._keep()
        return super().entries(directory)

    def release(self) -> None:
        """As `View.release`."""
        self._gone(self)
        with self._pinning:
            if self._pin is not None:
                self._pin.release()
                self._pin = None


class LabelsView(View):
    """All labels as directories, `a/b` as `b` in `a` (a label is never the first part of another one); and, by name
    only, `LABEL@{N}` and `LABEL@N`. What it has is named by the text before the name; the root's is empty."""

    lasting = LABEL_SECONDS

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._files = BaseFiles(repo.objects)
        self._lock = Lock()
        self._above: dict[str, str] = {"": ""}
        self._trees: dict[tuple[Digest, int, str], PinnedView] = {}
        self._control = TextsView({b"store": lambda: os.fsencode(repo.store.path) + b"\n"}, repo.store.path)

    @property
    def root(self) -> str:
        """As `View.root`."""
        return self._above[""]

    def lookup(self, directory: str, name: bytes) -> tuple[View, object] | None:
        """As `View.lookup`."""
        if name == CONTROL and not directory:
            return self._control, self._control.root
        try:
            text = directory + name.decode()
        except UnicodeDecodeError:
            return None
        if "@" not in text and self._repo.labels.list(f"{text}/"):
            above = f"{text}/"
            with self._lock:  # the very object: servers know nodes by identity
                return self, self._above.setdefault(above, above)
        try:
            base = revisions.parse(text).base
            if isinstance(base, revisions.Named) and self._repo.list_label(text) is None:
                return None  # an id is none of the labels
            resolved = self._repo.resolve(text)
        except JvsError:
            return None
        if resolved.label is None or resolved.entry is None:
            return None
        tree = self._tree(resolved.ca_id, resolved.entry.at_ms, resolved.label, resolved.generation)
        return tree, tree.root

    def _tree(self, root: Digest, at_ms: int, label: str, generation: int | None) -> PinnedView:
        key = (root, at_ms, label)
        with self._lock:
            tree = self._trees.get(key)
            if tree is None:

                def gone(view: PinnedView) -> None:
                    with self._lock:
                        if self._trees.get(key) is view:
                            del self._trees[key]

                tree = PinnedView(self._repo, self._files, root, at_ms * 1_000_000, gone)
                tree.control = fixed_texts(self._repo.store.path, label, generation, root)
                self._trees[key] = tree
            return tree

    def attributes(self, node: str) -> Attributes:
        """As `View.attributes`. Its time is that of the last move of a label in it."""
        newest = max((info.at_ms for info in self._repo.labels.list(node)), default=0) * 1_000_000
        return Attributes(derived_ino(_ROOT, node.encode()), stat.S_IFDIR | 0o555, 1, 4096, newest, newest, newest)

    def entries(self, directory: str) -> Sequence[Entry]:
        """As `View.entries`."""
        names = sorted({info.name[len(directory) :].partition("/")[0] for info in self._repo.labels.list(directory)})
        return [(name.encode(), stat.S_IFDIR, derived_ino(_ROOT, (directory + name).encode())) for name in names]

    def statfs(self) -> os.statvfs_result:
        """As `View.statfs`."""
        return os.statvfs(self._repo.store.path)
