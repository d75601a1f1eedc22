"""Command lines of `jvs`, one after another in one process: for tests that run thousands of them.

Run as a program it does the work: a request a line on stdin, in JSON, an answer a line on stdout. It runs what the
installed command runs, from the words to the exit status; only starting and leaving Python is left out. An index that
may be damaged is examined in this very process instead of a child of it (half of the time of such a test would be spent
in starting those), so what would be the end of the child is the end of this process.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.blackbox.conftest import Done, Jvs


class Died(Exception):
    """The process that ran the commands ended in the middle of one. status: as `subprocess` gives it."""

    def __init__(self, status: int, words: tuple[str | Path, ...]) -> None:
        super().__init__(f"exit status {status} in {words}")
        self.status = status


class Session:
    """Runs commands in a directory; a process that died is replaced by the next command. A context manager."""

    def __init__(self, jvs: Jvs) -> None:
        self._jvs = jvs
        self.where = jvs.where
        self._process: subprocess.Popen[str] | None = None

    def __call__(
        self,
        *words: str | bytes | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Done:
        """What one command came to. Raises Died."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.blackbox.session"],
                cwd=Path(__file__).parents[2],
                env=self._jvs.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "words": [os.fsdecode(word) for word in words],
            "cwd": str(cwd or self.where),
            "env": dict(env or {}),
            "stdin": base64.b64encode(stdin).decode(),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Died(self._end(), tuple(map(os.fsdecode, words)))
        status, out, err = json.loads(line)
        return Done(status, base64.b64decode(out).decode("utf-8", "surrogateescape"), err)

    def json(self, *words: str | bytes | Path, cwd: Path | None = None) -> Any:
        """The value of a command that must succeed."""
        return self(*words, "--json", cwd=cwd).ok().value

    def _end(self) -> int:
        assert self._process is not None
        self._process.communicate()
        status, self._process = self._process.returncode, None
        return status

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._end()


def serve() -> None:
    """Answer command lines until there are no more."""
    import io

    from jvs.castore.local import env
    from jvs.cli.main import cli, run
    from tests.castore.local.flipper import examine

    setattr(env, "probe", examine)  # noqa: B010  # a module's function
    environment = dict(os.environ)
    answers, requests = sys.stdout, sys.stdin
    for line in requests:
        request = json.loads(line)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(environment | request["env"])
        sys.stdin = io.TextIOWrapper(io.BytesIO(base64.b64decode(request["stdin"])))
        out = io.BytesIO()
        sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
        sys.stderr = io.StringIO()
        status = run(cli, request["words"])
        said, sys.stderr = sys.stderr.getvalue(), sys.__stderr__
        answer = (status, base64.b64encode(out.getvalue()).decode(), said)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
