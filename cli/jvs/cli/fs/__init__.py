"""`jvs fs`: the verbs that work on any store, one module each."""

from __future__ import annotations

import click

from jvs.cli.lazy import LazyGroup

VERBS = {
    "init": ("jvs.cli.fs.init:init", "Make a store."),
    "push": ("jvs.cli.fs.push:push", "Snapshot a directory and move a label to it."),
    "pull": ("jvs.cli.fs.pull:pull", "Make a directory be a snapshot; or show what a revision is."),
    "ls": ("jvs.cli.fs.ls:ls", "List the labels."),
    "tree": ("jvs.cli.fs.tree:tree", "List what is in a snapshot, with sizes."),
    "cat": ("jvs.cli.fs.cat:cat", "Print a file of a snapshot."),
    "diff": ("jvs.cli.fs.diff:diff", "Show what differs between two snapshots, or from a directory."),
    "rm": ("jvs.cli.fs.rm:rm", "Remove a path from a label's tree."),
    "label": ("jvs.cli.fs.label:label", "Create, repoint, delete, undelete or rename a label."),
    "tag": ("jvs.cli.fs.tag:tag", "Delete a tag."),
    "log": ("jvs.cli.fs.log:log", "Show where a label has been."),
    "reset": ("jvs.cli.fs.reset:reset", "Move a label back to where it was before."),
    "undo": ("jvs.cli.fs.undo:undo", "Undo the last move of a label."),
    "merge": ("jvs.cli.fs.merge:merge", "Merge two revisions, into a label if one is named."),
    "resolve": ("jvs.cli.fs.resolve:resolve", "End a merge whose conflicts were settled by hand."),
    "recorded": ("jvs.cli.fs.recorded:recorded", "List how conflicts were settled before."),
    "verify": ("jvs.cli.fs.verify:verify", "Read and check every byte of a snapshot, or of everything."),
    "stats": ("jvs.cli.fs.stats:stats", "Show how much is stored, and what each snapshot adds."),
    "open": ("jvs.cli.fs.session:open_", "Open a session: a snapshot as files that can be written."),
    "sessions": ("jvs.cli.fs.session:sessions", "List the sessions."),
    "status": ("jvs.cli.fs.session:status", "Show what was changed in a session."),
    "drop": ("jvs.cli.fs.session:drop", "Remove a session."),
    "mount": ("jvs.cli.fs.mount:mount", "Mount a revision, a session or all labels."),
    "unmount": ("jvs.cli.fs.mount:unmount", "Unmount."),
    "mounts": ("jvs.cli.fs.mount:mounts", "List what is mounted."),
    "pin": ("jvs.cli.fs.pin:pin", "Keep a snapshot, whatever becomes of its labels."),
    "unpin": ("jvs.cli.fs.pin:unpin", "Remove a pin."),
    "pins": ("jvs.cli.fs.pin:pins", "List the pins."),
    "retention": ("jvs.cli.fs.retention:retention", "Say what gc keeps of the histories of labels."),
    "gc": ("jvs.cli.fs.gc:gc", "Collect garbage: plan, run."),
    "purge": ("jvs.cli.fs.purge:purge", "Remove files from every snapshot, and their bytes from the store."),
}

EXAMPLES = """
jvs fs init
jvs fs push DIR --label main -m "as it came"
jvs fs push DIR -m "a change"
jvs fs diff main
jvs fs pull main@{1} DIR
"""


@click.command("fs", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def fs() -> None:
    """Version a directory: snapshots, labels that name them, and the history of every label.

    A revision (REV) is a label (main), a place in its history (main@{1}, main@{yesterday}, main@7 for generation 7),
    a tag (tag:v1), or the first 8 or more digits of an id. REV:path is something inside it.
    """
