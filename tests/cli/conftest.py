"""Running the command line in this process, with and without a store behind it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from jvs.cli.main import cli


class Done(NamedTuple):
    """What one command line came to."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON value on stdout; fails when there is not exactly one."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of the JSON value on stdout."""
        error: dict[str, Any] = self.value["error"]
        return error


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's settings."""
    for name in ("JVS_STORE", "JVS_ACTOR", "NO_COLOR", "COLUMNS", "LINES", "_JVS_COMPLETE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def jvs() -> Run:
    """Run `jvs` with these words."""

    def run(*words: str | Path) -> Done:
        result = CliRunner().invoke(cli, [str(word) for word in words])
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


class FakeRepo:
    """Stands in for `Repo`: a method is whatever a test puts there."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    def __enter__(self) -> FakeRepo:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name not in self.answers:
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls.append((name, args, options))
            answer = self.answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


@pytest.fixture
def repo(monkeypatch: pytest.MonkeyPatch) -> FakeRepo:
    """The store every command of this test meets, without a store."""
    fake = FakeRepo()
    module = ModuleType("jvs.workspace.repo")
    module.Repo = type("Repo", (), {"open": staticmethod(lambda store, actor: fake)})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jvs.workspace.repo", module)
    monkeypatch.setattr("jvs.workspace.locate.find_store", lambda explicit, env, start: "/store")
    return fake
