"""The use-cases: repositories, pushes and pulls of real directories.

For programs: `Client`, with `SavePoint`, `Restored` and `CleanupPlan`, works on a repository and its worktrees
(docs/client.md); `Repo` is a store, with its labels, merges and collections; `detect_engine` and `validate_engine`
say how directories can be cloned. Each is imported when it is first asked for, so that commands start in no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jvs.workspace.client import Client as Client
    from jvs.workspace.client_results import CleanupPlan as CleanupPlan
    from jvs.workspace.client_results import Restored as Restored
    from jvs.workspace.client_results import SavePoint as SavePoint
    from jvs.workspace.engines import detect_engine as detect_engine
    from jvs.workspace.engines import validate_engine as validate_engine
    from jvs.workspace.repo import Repo as Repo

_WHERE = {
    "CleanupPlan": "jvs.workspace.client_results",
    "Client": "jvs.workspace.client",
    "Repo": "jvs.workspace.repo",
    "Restored": "jvs.workspace.client_results",
    "SavePoint": "jvs.workspace.client_results",
    "detect_engine": "jvs.workspace.engines",
    "validate_engine": "jvs.workspace.engines",
}

__all__ = ["CleanupPlan", "Client", "Repo", "Restored", "SavePoint", "detect_engine", "validate_engine"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
