"""The embedded store: pack files, one LMDB environment and a journal in a directory (DESIGN 4.3, docs/format.md)."""

from __future__ import annotations

from jvs.castore.local.store import LocalStore

__all__ = ["LocalStore"]
