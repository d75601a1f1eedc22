"""What this front end takes from its surroundings: which store is meant, and who asks (docs/fsspec.md)."""

from __future__ import annotations

import os

from jvs.errors import StoreError
from jvs.workspace.locate import find_store


def store_meant(store: str | None) -> str:
    """The store directory meant: the one given, else JVS_STORE, else the nearest `.jvs` upwards. Raises NoStoreError,
    UsageError."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise StoreError("the current directory no longer exists", next="cd to one that does") from None
    return os.path.realpath(find_store(store, os.environ.get("JVS_STORE") or None, here))


def who() -> str:
    """Who does this: JVS_ACTOR, else user@host, without asking any directory service."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid{os.getuid()}"
    return os.environ.get("JVS_ACTOR") or f"{user}@{os.uname().nodename}"
