"""`jvs repo clone`."""

from __future__ import annotations

import os

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import command, count, size
from jvs.cli.ui import Ui
from jvs.cli.verb import directories, workspace_verb

VERBS = {"clone": ("jvs.cli.workspace.repo:clone", "Make a copy of the repository, while others work in it.")}

EXAMPLES = """
jvs repo clone /backup/lab
jvs repo clone ../lab-2 --no-checkout
"""


@click.command("repo", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def repo() -> None:
    """The repository as a whole."""


@workspace_verb(
    "clone",
    examples=EXAMPLES,
    fields={
        "repo_root": "where the new repository is",
        "repo_id": "its id, which is its own",
        "source_repo_root": "where the one is that was cloned",
        "worktrees": "names of its worktrees",
        "total_snapshots": "how many snapshots its worktrees have",
        "bytes": "how much was copied",
    },
    exits={1: "there is something in DIR already", 8: "something is missing in this repository"},
)
@click.argument("directory", metavar="DIR", shell_complete=directories)
@click.option("--no-checkout", is_flag=True, help="Leave the worktrees empty; jvs restore HEAD fills one.")
def clone(ui: Ui, directory: str, no_checkout: bool) -> int:
    """Make another repository in DIR, a new or empty directory, with all of this one's history and worktrees, as of one
    moment. Safe while others work in this one. What is not saved in a worktree stays behind."""
    from jvs.workspace.repository import cloning

    with ui.open_repository() as repository, ui.progress("clone", "pack") as progress:
        done = cloning.clone(repository, directory, checkout=not no_checkout, progress=progress)

    def people() -> list[str]:
        facts = [count(len(done.worktrees), "worktree"), count(done.snapshots, "snapshot"), size(done.bytes)]
        main = os.path.join(done.root, "main")
        first = command("cd", main) + (" && jvs restore HEAD" if no_checkout else "")
        return [f"Cloned JVS repository into {ui.name(done.root)}", f"  {', '.join(facts)}", f"  next: {first}"]

    return ui.show(done.as_json, people, [done.repo_id])
