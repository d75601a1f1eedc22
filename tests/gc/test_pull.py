"""A snapshot is pulled while a layout that the pull has read is replaced, and what it named is collected."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from jvs.castore.digest import Digest
from jvs.castore.objects import ObjectStore
from jvs.workspace.repo import Repo
from tests.castore.models import TINY
from tests.gc.scenarios import SHARED, SUB, Replacer, World, collect, heads, write_and_move


def test_a_layout_is_replaced_under_a_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Repo.init(str(tmp_path / "store"), TINY)
    with Repo.open(str(tmp_path / "store"), actor="tester") as repo:
        write_and_move(repo.store, "main", {b"sub": SUB})
        read, gone = ObjectStore.part, list[Digest]()

        def replaced_first(self: ObjectStore, digest: Digest) -> bytes:
            if not gone:
                gone.append(digest)
                Replacer("L", SUB).work(cast(World, SimpleNamespace(store=repo.store)))
                collect(repo.store, heads)
            return read(self, digest)

        monkeypatch.setattr(ObjectStore, "part", replaced_first)
        repo.pull("main", str(tmp_path / "target"))
        assert gone
        assert (tmp_path / "target" / "sub" / "shared").read_bytes() == SHARED
