"""Which engines there are, and which of them works on a path."""

from __future__ import annotations

import os
from typing import Final

from jvs.castore.checkout.disk import reporting
from jvs.castore.names import shorten
from jvs.errors import UnknownError, UsageError
from jvs.workspace.engines.engine import Engine, unusable

GROUP: Final = "jvs.engines"
"""The entry-point group of engines that other distributions bring."""

BUILT_IN: Final = ("juicefs-clone", "reflink-copy", "copy")
"""The names of the built-in engines, the best first."""


def detect_engine(path: str) -> str:
    """The name of the best built-in engine that works on the existing directory `path`, found by trying each there:
    what is cheap to clone is a matter of the very file system, its options and the kernel. `copy` works everywhere.

    Engines of other distributions are used where they are named, and only there: what one machine detects must not
    depend on what else is installed. Raises StoreError where there is no such directory.
    """
    _check(path)
    for name in BUILT_IN[:-1]:
        if load_engine(name).probe(path) is None:
            return name
    return BUILT_IN[-1]


def validate_engine(path: str, engine: str) -> Engine:
    """The engine of that name, if it works on the existing directory `path`.

    Raises UnknownError (unknown-engine), StateError (engine-unusable) with the reason, StoreError where there is no
    such directory.
    """
    found = load_engine(engine)
    _check(path)
    reason = found.probe(path)
    if reason is not None:
        raise unusable(engine, reason)
    return found


def load_engine(name: str) -> Engine:
    """The engine of that name: built-in, or else an entry point of the group `jvs.engines`. Raises UnknownError."""
    if name == "copy":
        from jvs.workspace.engines.copying import CopyEngine

        return CopyEngine()
    if name == "reflink-copy":
        from jvs.workspace.engines.reflink import ReflinkEngine

        return ReflinkEngine()
    if name == "juicefs-clone":
        from jvs.workspace.engines.juicefs import JuicefsEngine

        return JuicefsEngine()
    return _installed(name)


def _installed(name: str) -> Engine:
    """The engine of that name that some other distribution brings; of several the first, by where it leads."""
    from importlib.metadata import entry_points  # 20 ms, for those who name one

    found = sorted(entry_points(group=GROUP, name=name), key=lambda entry: entry.value)
    if not found:
        raise UnknownError(f"there is no engine called {shorten(name)!r}", code="unknown-engine", engine=name)
    try:
        engine: Engine = found[0].load()()
    except Exception as error:
        reason = shorten(f"{type(error).__name__}: {error}")
        raise UnknownError(
            f"the engine {name} could not be loaded: {reason}",
            code="unknown-engine",
            next=f"install the distribution that brings {name} anew, or choose one of {', '.join(BUILT_IN)}",
            engine=name,
        ) from error
    return engine


def _check(path: str) -> None:
    with reporting("cannot look at", os.fsencode(path)):
        os.stat(path)
    if not os.path.isdir(path):
        raise UsageError(f"{path} is not a directory", code="not-a-directory", next="name a directory")
