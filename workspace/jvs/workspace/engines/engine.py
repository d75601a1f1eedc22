"""What an engine is, and what it answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, Protocol

from jvs.errors import JvsError, StateError

if TYPE_CHECKING:
    import threading

    from jvs.workspace.progress import Progress


class Refused(Exception):
    """Says why an engine cannot do what it is asked to, as a clause for people; becomes `unusable`."""


class CloneResult(NamedTuple):
    """What came of cloning a tree.

    files        regular files, every name of a hard-linked one counted
    directories  below the root
    symlinks     symbolic links
    size         the sum of the sizes of the files, each hard-linked one once
    skipped      paths of FIFOs, sockets and devices, which are left out
    changed      paths of files that were written to meanwhile: their copies may be of neither state

    Paths are bytes, joined by `/`, from the root of the tree.
    """

    files: int
    directories: int
    symlinks: int
    size: int
    skipped: tuple[bytes, ...] = ()
    changed: tuple[bytes, ...] = ()


class Engine(Protocol):
    """A way to clone a tree. One object serves any number of threads."""

    name: str
    """What it is called in commands and in what is recorded: letters, digits, `-`."""

    def probe(self, path: str) -> str | None:
        """Try it on the existing directory `path`, leaving nothing behind: None when it works there, else the reason
        why not, as a clause for people ("btrfs says no"). Raises nothing."""
        ...

    def clone_tree(
        self,
        src: str,
        dst: str,
        *,
        skip: Collection[bytes],
        progress: Progress | None,
        cancel: threading.Event | None,
    ) -> CloneResult:
        """Make `dst` a copy of the directory `src`, as `jvs.workspace.engines.clone_tree` promises it, which has
        looked at both before it calls this; making it durable is the caller's part.

        src       absolute path of a directory; stays as it is
        dst       absolute path of what is not there yet, in a directory that is; not in `src`, unless below a name of
                  `skip`
        skip      names in the root of `src` that are left out
        progress  told from time to time, on the calling thread
        cancel    looked at from time to time; raise `stopped()` soon after it is set

        Raises JvsError, Refused for a tree that this engine cannot clone. What was made by then stays.
        """
        ...


def unusable(engine: str, reason: str) -> StateError:
    """The failure for an engine that cannot do what it is asked to. reason: a clause."""
    return StateError(f"the engine {engine} cannot be used: {reason}", code="engine-unusable", engine=engine)


def stopped() -> JvsError:
    """The failure for work that its caller cancelled."""
    return JvsError("stopped before all files were there", code="interrupted")
