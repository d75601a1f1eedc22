"""What a shell offers where snapshots, tags, refs and settings stand. Nothing is finished or changed by it, and where
there is no repository there is nothing to offer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import click

from jvs.cli.text import first_line
from jvs.cli.ui import Ui
from jvs.errors import JvsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from jvs.workspace.repository.repository import Repository

_LOOKED_AT = 1000
_OFFERED = 20


def snapshots(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """HEAD, tags, the worktree's autosaves, and the ids of its newest snapshots, beside their notes where the shell
    shows such."""
    from click.shell_completion import CompletionItem  # only shells need it

    from jvs.labels.names import AUTOSAVE
    from jvs.workspace.repository.layout import MAIN

    names: list[str] = []
    offered: list[CompletionItem] = []
    try:
        with _opened(context) as repository:
            label = repository.standing(context.ensure_object(Ui).standing_in(repository) or MAIN).label
            autosaves = f"{AUTOSAVE}/{label}"
            names = ["HEAD", *repository.repo.labels.tags()]
            names += [autosaves] if repository.repo.labels.get(autosaves) is not None else []
            newest = islice(repository.savepoints.history(label), _LOOKED_AT)
            known = islice((one for one in newest if one.save_point_id.startswith(incomplete)), _OFFERED)
            for one in known:
                typed = one.save_point_id if len(incomplete) > len(one.short_id) else one.short_id
                offered.append(CompletionItem(typed, help=first_line(one.message)))
    except JvsError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)] + offered


def tags(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The tags there are."""
    try:
        with _opened(context) as repository:
            return [tag for tag in repository.repo.labels.tags() if tag.startswith(incomplete)]
    except JvsError:
        return []


def refs(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The refs there are."""
    try:
        with _opened(context) as repository:
            return [ref.name for ref in repository.repo.labels.refs() if ref.name.startswith(incomplete)]
    except JvsError:
        return []


def settings(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What can be configured."""
    from jvs.workspace.repository.settings import KEYS

    return [key for key in KEYS if key.startswith(incomplete)]


@contextmanager
def _opened(context: click.Context) -> Iterator[Repository]:
    """The repository meant, to be looked at: what was interrupted there is left to the next command."""
    from jvs.workspace.repo import Repo
    from jvs.workspace.repository.repository import Repository

    ui = context.ensure_object(Ui)
    layout = ui.find_repository()
    with Repository(layout, Repo.open(layout.store(), actor=ui.actor())) as repository:
        yield repository
