"""The `jvs` command: the root of the command tree, and the one place where a run begins and ends."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from jvs.cli.errors import Reported, as_jvs_error, with_step
from jvs.cli.lazy import LazyGroup
from jvs.cli.ui import Ui
from jvs.cli.version import VERSION
from jvs.errors import CODES

COMPLETE = "_JVS_COMPLETE"
"""Set by the scripts that `jvs completion` prints."""

_BROKEN_PIPE = 141
"""128 + SIGPIPE: what a shell sees of a program whose reader went away."""

VERBS = {
    "init": ("jvs.cli.workspace.init:init", "Make a repository, or one of a folder that is there."),
    "snapshot": ("jvs.cli.workspace.snapshot:snapshot", "Save what is in the worktree."),
    "save": ("jvs.cli.workspace.snapshot:snapshot", "The same as snapshot."),
    "history": ("jvs.cli.workspace.history:history", "List the snapshots of the worktree."),
    "status": ("jvs.cli.workspace.status:status", "Say where the worktree stands, and what is not saved."),
    "diff": ("jvs.cli.workspace.diff:diff", "Show what differs between snapshots, or what is not saved."),
    "restore": ("jvs.cli.workspace.restore:restore", "Make the worktree what it was at a snapshot."),
    "undo": ("jvs.cli.workspace.undo:undo", "Revert the last snapshot, restore or other move of the worktree."),
    "log": ("jvs.cli.workspace.log:log", "Show where the worktree's label has been."),
    "worktree": ("jvs.cli.workspace.worktree:worktree", "Directories with a label each: create, fork, list ..."),
    "wt": ("jvs.cli.workspace.worktree:worktree", "The same as worktree."),
    "ref": ("jvs.cli.workspace.ref:ref", "Names for snapshots that never move."),
    "pin": ("jvs.cli.workspace.pin:pin", "Keep snapshots, whatever the retention policies say."),
    "lock": ("jvs.cli.workspace.lock:lock", "Be the only one who saves to a worktree's label."),
    "audit": ("jvs.cli.workspace.audit:audit", "List everything that was ever done to the repository."),
    "info": ("jvs.cli.workspace.info:info", "Say what the repository is."),
    "config": ("jvs.cli.workspace.config:config", "The settings of the repository."),
    "verify": ("jvs.cli.workspace.verify:verify", "Read and check every byte of a snapshot, or of all."),
    "gc": ("jvs.cli.workspace.gc:gc", "Collect garbage: plan, run."),
    "cleanup": ("jvs.cli.workspace.gc:cleanup", "The same as gc."),
    "repo": ("jvs.cli.workspace.repo:repo", "The repository as a whole: clone."),
    "fs": ("jvs.cli.fs:fs", "Version a directory: push, pull, ls, log, diff, reset, verify ..."),
    "run": ("jvs.cli.run:run", "Run a command on a label in a session of its own, and push what it did."),
    "doctor": ("jvs.cli.doctor:doctor", "Examine the store, and repair it."),
    "completion": ("jvs.cli.completion:completion", "Print the completion script of a shell."),
}

EXAMPLES = """
jvs init lab && cd lab/main            # or, of a folder that is there: jvs init --adopt DIR
jvs snapshot "as it came"
jvs history
jvs restore "as it"                    # what is not saved is saved first
jvs restore HEAD                       # back to the newest
jvs worktree fork exp

jvs fs init                            # the same without worktrees: any directory, labels, merges
jvs fs push DIR --label main -m "as it came"
jvs fs log main
jvs fs reset main main@{1}
jvs fs pull main DIR
"""


class Jvs(LazyGroup):
    """The root. Its `main` reports every failure in jvs's own way instead of click's."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command line; ends in SystemExit with the exit status of DESIGN section 10."""
        status = run(self, list(sys.argv[1:] if args is None else args))
        if standalone_mode:
            sys.exit(status)
        return status


def run(root: click.Command, words: list[str]) -> int:
    """Do what the command line `words` says; returns the exit status, having reported any failure."""
    instruction = os.environ.get(COMPLETE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {"obj": Ui()}, "jvs", COMPLETE, instruction)
    ui = Ui(words)
    try:
        status = _attempt(root, words, ui)
        ui.flush_data()
    except BrokenPipeError:
        _drop_stdout()
        return _BROKEN_PIPE
    except OSError as error:  # stdout itself: a full disk, say
        _drop_stdout()
        return ui.fail(as_jvs_error(error), as_json=False)
    return status


def _attempt(root: click.Command, words: list[str], ui: Ui) -> int:
    try:
        with root.make_context("jvs", words, obj=ui) as context:
            return root.invoke(context) or 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        ui.talk(error.format_message())
        return error.exit_code
    except BrokenPipeError:
        raise
    except Reported as reported:
        _trace(ui)
        return reported.error.exit_status
    except (Exception, KeyboardInterrupt) as error:
        _trace(ui)
        typed = isinstance(error, click.ClickException)
        failure = with_step(as_jvs_error(error), ui.command)
        return ui.fail(failure, as_json=ui.json or (typed and ui.json_wanted))


def _trace(ui: Ui) -> None:
    if ui.debug:
        import traceback

        traceback.print_exc()


def _drop_stdout() -> None:
    """Nobody reads stdout any more: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    ui = context.ensure_object(Ui)
    if ui.json_wanted:
        ui.emit({"version": VERSION})
    else:
        ui.say(f"jvs {VERSION}")
    context.exit()


@click.command("jvs", cls=Jvs, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and leave."
)
def cli() -> None:
    """Version any directory tree, of any size: snapshot, label, compare, roll back; nothing is ever lost."""


def main() -> None:
    """Entry point of the installed command. Leaves without tearing the interpreter down: everything is closed and
    flushed by then, and taking thousands of objects apart one by one costs a sixth of a short run (8 of 50 ms).
    Nor does it look for cycles: what a command makes has next to none, and looking was 3 % of a large push."""
    gc.disable()
    # With a stream closed (`>&-`) Python has none, and the next file opened would get its number.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        status = run(cli, sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first was being reported
        status = CODES["interrupted"].exit
    sys.stderr.flush()
    os._exit(status)
