"""fsspec's own tests of file systems, every class of them: on a label, where each call is a push, and in a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fsspec.tests import abstract

from jvs.workspace.fsspec.filesystem import JvsFileSystem
from jvs.workspace.repo import Repo
from jvs.workspace.sessions.actions import drop_session
from jvs.workspace.sessions.session import create_session


class OnLabel(abstract.AbstractFixtures):  # type: ignore[misc]  # fsspec has no types
    @pytest.fixture
    def fs(self, module_store: str) -> Iterator[JvsFileSystem]:
        made = JvsFileSystem(store=module_store, skip_instance_cache=True)
        yield made
        if made.exists("main/here"):
            made.rm("main/here", recursive=True)

    @pytest.fixture
    def fs_path(self) -> str:
        return "main/here"

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return lambda *parts: "/".join(parts)


class TestCopyOnLabel(abstract.AbstractCopyTests, OnLabel):  # type: ignore[misc]
    pass


class TestGetOnLabel(abstract.AbstractGetTests, OnLabel):  # type: ignore[misc]
    pass


class TestPutOnLabel(abstract.AbstractPutTests, OnLabel):  # type: ignore[misc]
    pass


class TestPipeOnLabel(abstract.AbstractPipeTests, OnLabel):  # type: ignore[misc]
    pass


class TestOpenOnLabel(abstract.AbstractOpenTests, OnLabel):  # type: ignore[misc]
    pass


class InSession(OnLabel):
    @pytest.fixture
    def fs(self, module_store: str) -> Iterator[JvsFileSystem]:
        with Repo.open(module_store, actor="tester") as repo:
            create_session(repo, "main", "work").close()
        made = JvsFileSystem(store=module_store, session="work", skip_instance_cache=True)
        yield made
        made.close()
        with Repo.open(module_store, actor="tester") as repo:
            drop_session(repo, "work", force=True)


class TestCopyInSession(abstract.AbstractCopyTests, InSession):  # type: ignore[misc]
    pass


class TestGetInSession(abstract.AbstractGetTests, InSession):  # type: ignore[misc]
    pass


class TestPutInSession(abstract.AbstractPutTests, InSession):  # type: ignore[misc]
    pass


class TestPipeInSession(abstract.AbstractPipeTests, InSession):  # type: ignore[misc]
    pass


class TestOpenInSession(abstract.AbstractOpenTests, InSession):  # type: ignore[misc]
    pass


def test_no_class_of_fsspec_is_left_out() -> None:
    """A newer fsspec may have more."""
    there = {name for name in vars(abstract) if name.startswith("Abstract") and name.endswith("Tests")}
    assert there == {f"Abstract{kind}Tests" for kind in ("Copy", "Get", "Put", "Pipe", "Open")}
