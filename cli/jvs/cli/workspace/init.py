"""`jvs init`."""

from __future__ import annotations

import os
import shlex

import click

from jvs.cli.ui import Ui
from jvs.cli.verb import directories, verb
from jvs.errors import UsageError

EXAMPLES = """
jvs init NAME                          # NAME/.jvs, NAME/main, NAME/worktrees
jvs init --adopt DIR                   # DIR becomes the main worktree where it is
jvs init NAME --store /srv/store       # where the file system of NAME cannot hold a store
"""


@verb(
    "init",
    examples=EXAMPLES,
    fields={
        "format_version": "version of its format on disk",
        "repo_id": "the repository's name among all repositories",
        "repo_root": "its absolute path",
    },
    exits={1: "there is a repository already, or something else"},
)
@click.argument("name", required=False)
@click.option(
    "--adopt",
    metavar="DIR",
    shell_complete=directories,
    help="An existing folder becomes the main worktree; nothing in it is touched.",
)
@click.option("--engine", metavar="NAME", help="How worktrees are cloned [default: JVS_ENGINE, else the best there].")
def init(ui: Ui, name: str | None, adopt: str | None, engine: str | None) -> int:
    """Make a repository in the new or empty directory NAME: its store and control data in NAME/.jvs, the main worktree
    NAME/main, and NAME/worktrees for others. --store DIR puts the store elsewhere.

    An init that was interrupted is finished by the next one.
    """
    from jvs.workspace.repository.initialising import init as make

    if (name is None) == (adopt is None):
        raise UsageError("an init takes one NAME, or --adopt DIR", next="jvs init --help")
    path = adopt if name is None else name
    assert path is not None
    chosen = engine or os.environ.get("JVS_ENGINE") or None
    done = make(os.path.join(ui.here(), path), store=ui.store, adopt=adopt is not None, engine=chosen, actor=ui.actor())

    def people() -> list[str]:
        main = done.root if done.adopted else os.path.join(done.root, "main")
        step = f"cd {shlex.quote(main)} && jvs snapshot 'as it came'"
        return [
            f"Initialized JVS repository in {ui.name(done.root)}",
            f"  engine: {done.engine}",
            f"  next: {ui.name(step)}",
        ]

    return ui.show(done.as_json, people, [done.repo_id])
