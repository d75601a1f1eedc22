"""Engines: how the files of a worktree are materialised from a directory that is already on disk.

`detect_engine(path)` finds the best one by trying, `validate_engine(path, engine)` says why one cannot work there, and
`clone_tree` copies a tree with the one it is given. docs/extending.md says how to write one.
"""

from __future__ import annotations

from jvs.workspace.engines.clone import clone_tree
from jvs.workspace.engines.engine import CloneResult, Engine, Refused, stopped
from jvs.workspace.engines.registry import BUILT_IN, GROUP, detect_engine, load_engine, validate_engine
from jvs.workspace.engines.survey import Survey, mend, survey

__all__ = [
    "BUILT_IN",
    "GROUP",
    "CloneResult",
    "Engine",
    "Refused",
    "Survey",
    "clone_tree",
    "detect_engine",
    "load_engine",
    "mend",
    "stopped",
    "survey",
    "validate_engine",
]
