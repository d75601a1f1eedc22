"""jvs with a flush taken away, to see that the test notices: run as the installed command is, with a mutation first.

The product has no switch for this, and must not have one; so what it calls is replaced here before it starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import lmdb

from tests.powercut.disks import ROOT


def nothing_synced() -> None:
    """Neither packs nor directories nor the index."""
    files_not_synced()
    directories_not_synced()
    index_not_synced()


def files_not_synced() -> None:
    """The index is durable, and names objects in packs that are not."""
    setattr(os, "fdatasync", _nothing)  # noqa: B010  # a module's function


def directories_not_synced() -> None:
    """Packs are synced, but not the directories they are in."""
    setattr(os, "fsync", _nothing)  # noqa: B010


def index_not_synced() -> None:
    """Packs are durable before the index names them; but nobody waits for the index."""
    really_open: Callable[..., Any] = lmdb.open

    def open_unsynced(*words: Any, **options: Any) -> Any:
        return really_open(*words, **options, sync=False)

    setattr(lmdb, "open", open_unsynced)  # noqa: B010


def _nothing(*_: object) -> None:
    pass


MUTANTS: Final = (nothing_synced, files_not_synced, directories_not_synced, index_not_synced)


def code_of(mutant: Callable[[], None]) -> str:
    """The Python that starts jvs with this mutation."""
    return (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.powercut import mutants; "
        f"mutants.{mutant.__name__}(); from jvs.cli.main import main; main()"
    )
