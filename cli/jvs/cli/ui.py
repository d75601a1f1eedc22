"""What one run of `jvs` has in common whatever the verb: its options, its streams, the store it means.

Data goes to stdout, talk to stderr. With `--json` stdout carries exactly one value.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

from jvs.castore.names import display
from jvs.cli.errors import Reported, as_jvs_error, error_json, error_lines
from jvs.cli.text import paint, plain
from jvs.errors import JvsError, StoreError, UsageError

if TYPE_CHECKING:
    from jvs.cli.progress import Progress
    from jvs.workspace.repo import Repo
    from jvs.workspace.repository.layout import Layout
    from jvs.workspace.repository.repository import Repository

Json = dict[str, Any]

_DEFAULT_SIZE = (80, 24)


class Ui:
    """The global options of one run, and all that is printed.

    json, quiet, store, debug, no_progress, no_color: as given anywhere on the command line.
    repo, worktree, wait, nonce: as given to a verb for repositories.
    command: the verb that runs, as typed: `jvs fs push`.
    answered: the JSON value of this run is on stdout, or a part of it: there must be no second one.
    json_wanted: `--json` stands among the words typed, whether or not they could be understood.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        before = words[: words.index("--")] if "--" in words else words
        self.json_wanted = "--json" in before
        self.command = "jvs"
        self.answered = False
        self.json = False
        self.quiet = False
        self.debug = False
        self.no_progress = False
        self.no_color = False
        self.store: str | None = None
        self.repo: str | None = None
        self.worktree: str | None = None
        self.wait: float | None = None
        self.nonce: str | None = None
        self.unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Names and messages are UTF-8 whatever the locale; a lone surrogate must not end the program.
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")

    # The store

    def open_repo(self, dry_run: bool = False, about: str | None = None) -> Repo:
        """The store this command means: --store, JVS_STORE, the nearest one upwards. Raises NoStoreError and others.

        dry_run: label moves of this Repo are only tried; see `jvs.workspace.rehearsal`. about: a directory that the
        command is about: if it is a worktree, and its user noted a lock, that lock is theirs.
        """
        from jvs.workspace.repo import Repo

        repo = Repo.open(self.find_store(), actor=self.actor(), **self.lock_nonce(about=about))
        if dry_run:
            from jvs.workspace.rehearsal import rehearse

            rehearse(repo)
        return repo

    def find_store(self) -> str:
        """Path of the store this command means, not opened."""
        from jvs.workspace.locate import find_store

        return find_store(self.store, self.env_store(), self.here())

    def open_repository(self) -> Repository:
        """The repository this command means: --repo, the nearest one upwards. Raises NoStoreError (no-repository)."""
        from jvs.workspace.repository.repository import Repository

        layout = self.find_repository()
        repository = Repository.open(layout, actor=self.actor(), **self.lock_nonce(layout))
        for sentence in repository.recovered:
            self.talk(sentence)
        return repository

    def find_repository(self) -> Layout:
        """Where that repository is, not opened."""
        from jvs.workspace.repository.layout import find_layout

        if self.store is not None:
            raise UsageError(
                "--store names a store, and this is a verb for repositories", next=f"{self.command} --repo PATH"
            )
        return find_layout(self.repo, self.here())

    def chosen(self, repository: Repository) -> str:
        """The worktree this command means: -w, the one it stands in. Raises UsageError, UnknownError."""
        return repository.choose(self.worktree, self.here())

    def standing_in(self, repository: Repository) -> str | None:
        """The worktree that an operand is typed in, if in one: for verbs about the whole repository."""
        return self.worktree or repository.worktree_at(self.here())

    def given_nonce(self) -> str | None:
        """--nonce, JVS_LOCK_NONCE."""
        return self.nonce or os.environ.get("JVS_LOCK_NONCE") or None

    def lock_nonce(self, layout: Layout | None = None, about: str | None = None) -> dict[str, str]:
        """The nonce of the lock whose holder runs this command, as operand of `Repo.open`: --nonce, JVS_LOCK_NONCE
        (`nonce`), else the one that is noted (`noted`) for the worktree it is about: -w in the repository `layout`, or
        what `about` is in; if that is none, for the one it stands in."""
        given = self.given_nonce()
        if given is not None:
            return {"nonce": given}
        from jvs.workspace.repository.layout import near_layout

        for place in (about, self.here()):
            found = layout or (None if place is None else near_layout(place))
            name = None if found is None or place is None else self.worktree or found.around(place)
            noted = None if found is None or name is None else found.session_nonce(name)
            if noted is not None:
                return {"noted": noted}
        return {}

    @staticmethod
    def env_store() -> str | None:
        """JVS_STORE, if it is set to something."""
        return os.environ.get("JVS_STORE") or None

    @staticmethod
    def here() -> str:
        """The current directory; raises StoreError when it was removed."""
        try:
            return os.getcwd()
        except FileNotFoundError:
            raise StoreError("the current directory no longer exists", next="cd to one that does") from None

    @staticmethod
    def actor() -> str:
        """Who does this: JVS_ACTOR, else user@host, without asking any directory service."""
        given = os.environ.get("JVS_ACTOR")
        if given:
            return given
        user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid{os.getuid()}"
        return f"{user}@{os.uname().nodename}"

    # Data: stdout

    def say(self, line: str = "") -> None:
        """One line of data for people."""
        sys.stdout.write(line + "\n")

    def show(
        self,
        value: Callable[[], Json],
        people: Callable[[], Iterable[str]],
        ids: Sequence[str] = (),
        error: JvsError | None = None,
    ) -> int:
        """Print a result in the form asked for, and return the exit status.

        value: its JSON; people: its lines; ids: what -q prints; error: set when the result is also a failure.
        """
        if self.json:
            self.emit(value() | ({} if error is None else {"error": error_json(error)}))
        else:
            for line in ids if self.quiet else people():
                self.say(line)
            if error is not None:
                self.complain(error)
        return 0 if error is None else error.exit_status

    def emit(self, value: Json) -> None:
        """The one JSON value of this run."""
        text = to_json(value)
        self.answered = True
        self.say(text)

    def stream(self, head: Json, key: str, items: Iterable[Json]) -> None:
        """The one JSON value of this run: `head` and a list under `key`, written as its items come.

        A failure before the first item is raised; one further on ends the list, is added as `error`, and raises
        Reported.
        """
        begin = (to_json(head)[:-2] + ",\n" if head else "{\n") + f'  "{key}": ['
        error = self._items(begin, "    ", "\n  ]", items)
        if error is not None:
            sys.stdout.write(',\n  "error": ' + to_json(error_json(error)).replace("\n", "\n  "))
        sys.stdout.write("\n}\n")
        if error is not None:
            raise Reported(error)

    def stream_list(self, items: Iterable[Json]) -> None:
        """The one JSON value of this run, a list, written as its items come. A failure further on than the first item
        ends the list with `{"error": ...}`, and raises Reported."""
        error = self._items("[", "  ", "\n]", items, lambda error: {"error": error_json(error)})
        sys.stdout.write("\n")
        if error is not None:
            raise Reported(error)

    def _items(
        self,
        begin: str,
        indent: str,
        end: str,
        items: Iterable[Json],
        last: Callable[[JvsError], Json] | None = None,
    ) -> JvsError | None:
        """Write `begin`, the items one by one, and `end`; what broke the list off, which `last` makes an item of."""
        iterator = iter(items)
        write = sys.stdout.write
        separator = ""
        error: JvsError | None = None
        item = next(iterator, None)
        self.answered = True
        write(begin)
        while item is not None:
            write(separator + "\n" + indent + to_json(item).replace("\n", "\n" + indent))
            separator = ","
            if error is not None:
                break
            try:
                item = next(iterator, None)
            except BaseException as raised:  # also an interrupt: the value on stdout is completed first
                error = as_jvs_error(raised)
                item = None if last is None else last(error)
        write(end if separator else "]")
        return error

    # Talk: stderr

    def talk(self, line: str) -> None:
        """One line that is not data; nothing with -q."""
        if not self.quiet:
            self.flush_data()
            sys.stderr.write(line + "\n")

    def complain(self, error: JvsError) -> None:
        """The failure, for people."""
        self.flush_data()
        for line in error_lines(error):
            word, colon, rest = line.partition(":")
            if colon and word in ("error", "next") and self.coloured(sys.stderr):
                line = paint(word + colon, "red" if word == "error" else "cyan") + rest
            sys.stderr.write(line + "\n")

    def fail(self, error: JvsError, as_json: bool) -> int:
        """Report the failure that ended this run; returns the exit status."""
        if as_json and not self.answered:
            self.emit({"error": error_json(error)})
        else:
            self.complain(error)
        return error.exit_status

    @staticmethod
    def flush_data() -> None:
        """Put out what was said, so that both streams stand in order on a terminal."""
        sys.stdout.flush()

    # Looks

    def coloured(self, stream: TextIO | None = None) -> bool:
        """Whether colours may be used on that stream (stdout): a terminal, and nobody said no."""
        stream = stream or sys.stdout
        unwanted = self.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return not unwanted and stream.isatty()

    @staticmethod
    def name(text: str | bytes) -> str:
        """A name, path or foreign text for people: control characters escaped, never raw."""
        return display(text) if isinstance(text, bytes) else plain(text)

    def paint(self, text: str, colour: str) -> str:
        """`text` for stdout, coloured where that is wanted."""
        return paint(text, colour) if self.coloured() else text

    @staticmethod
    def screen() -> tuple[int, int]:
        """Columns and lines: COLUMNS and LINES, else the terminal's, else 80 by 24."""
        try:
            found: Sequence[int] = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
        except (OSError, ValueError):
            found = _DEFAULT_SIZE
        sizes = [
            int(given) if (given := os.environ.get(name, "")).isdecimal() and int(given) > 0 else real or default
            for name, real, default in zip(("COLUMNS", "LINES"), found, _DEFAULT_SIZE, strict=True)
        ]
        return sizes[0], sizes[1]

    def progress(self, verb: str, noun: str = "file") -> AbstractContextManager[Progress | None]:
        """A progress bar on stderr while the context lasts, or None where there must be none. noun: what it counts."""
        if self.quiet or self.no_progress or not sys.stderr.isatty():
            return nullcontext()
        from jvs.cli.progress import Progress

        return Progress(sys.stderr, verb, self.screen()[0], noun)


def to_json(value: Json) -> str:
    """`value` with two spaces to a level."""
    import json  # not needed by those who want text

    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
