"""`jvs snapshot`, and `jvs save`."""

from __future__ import annotations

import os
import sys
import time
from typing import BinaryIO

import click

from jvs.cli.text import count, duration, size
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import files, workspace_verb
from jvs.errors import StoreError, UsageError

EXAMPLES = """
jvs snapshot "as it came"
jvs snapshot "best so far" --tag best --tag v2
git log -1 --format=%B | jvs snapshot -
jvs snapshot "only the model" --paths model/ --compress max
jvs save -m "as it came"
"""

SAVE_POINT_FIELDS = {
    "snapshot_id": "26 characters that sort by time; the first 12 will do where an id is typed",
    "parent_id": "the snapshot its content came from; left out when there is none",
    "worktree_name": "the worktree",
    "created_at": "when, ISO 8601 UTC",
    "note": "its note; left out when there is none",
    "tags": "its tags; left out when there are none",
    "engine": "how the worktree's files are cloned",
    "payload_root_hash": "id of the content: equal for equal trees, wherever they are",
    "descriptor_checksum": "id of the history entry",
    "integrity_state": "`verified` when it was read back before it was acknowledged, else `unknown`",
}

_SHOWN = 20


@workspace_verb(
    "snapshot",
    examples=EXAMPLES,
    fields=SAVE_POINT_FIELDS
    | {
        "skipped[].path": "a path left out, or kept as it was; the list is left out when there are none",
        "skipped[].path_b64": "its bytes, when they are not UTF-8",
        "skipped[].reason": "why",
    },
    exits={
        1: "the worktree is detached, or a file cannot be read",
        3: "done, but some paths were skipped (listed)",
        6: "the label moved: nothing was changed, what is here is kept for 24 hours",
    },
)
@click.argument("note", required=False)
@click.option("-m", "--message", metavar="NOTE", help="The note, as an option.")
@click.option(
    "-F", "--file", "file", metavar="FILE", shell_complete=files, help="Read the note from a file; -: from stdin."
)
@click.option("--tag", "tags", multiple=True, metavar="T", help="Tag it; may be repeated.")
@click.option(
    "--paths",
    multiple=True,
    metavar="P",
    shell_complete=files,
    help="Take only this path, the rest as it was saved last; may be repeated.",
)
@click.option(
    "--compress",
    type=click.Choice(["none", "fast", "default", "max"]),
    help="How what is new is compressed [default: what `jvs config` says].",
)
@click.option("--rehash", is_flag=True, help="Read every file, whatever its times say.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out new files that cannot be read (exit status 3).")
def snapshot(
    ui: Ui,
    note: str | None,
    message: str | None,
    file: str | None,
    tags: tuple[str, ...],
    paths: tuple[str, ...],
    compress: str | None,
    rehash: bool,
    skip_unreadable: bool,
) -> int:
    """Save what is in the worktree, with a NOTE (-: from stdin). Also when nothing has changed.

    Only what is new is stored, and it is read back before it is acknowledged. Devices, sockets and FIFOs are left out
    (and listed), .jvs is, and whatever .jvsignore says.
    """
    from jvs.workspace.repository.settings import level_of
    from jvs.workspace.repository.snapshot import SnapshotOptions
    from jvs.workspace.repository.snapshot import snapshot as save

    given = [one for one in (note, message, file) if one is not None]
    if len(given) > 1:
        raise UsageError("one note: NOTE, -m or -F", next=f"{ui.command} --help")
    text = _read_note(file or "-") if file is not None or note == "-" else note or message or ""
    started = time.perf_counter()
    with ui.open_repository() as repository, ui.progress("snapshot") as progress:
        name = ui.chosen(repository)
        options = SnapshotOptions(
            text,
            tags,
            _inside(repository.directory(name), paths, ui.here()) if paths else None,
            None if compress is None else level_of(compress, repository.repo.store.settings.zstd_level),
            os.environ.get("JVS_ENGINE") or None,
            ui.wait,
            rehash,
            skip_unreadable,
        )
        made = save(repository, name, options, progress)
    seconds = time.perf_counter() - started

    def people() -> list[str]:
        stats, one = made.stats, made.save_point
        number = count(stats.entries, "path") if stats.files is None else count(stats.files, "file")
        facts = [number, size(stats.bytes), f"{size(stats.new_bytes)} new", duration(seconds)]
        return [f"Created snapshot {one.save_point_id}", f"  {ui.name(one.workspace_name)}: {', '.join(facts)}"]

    def value() -> Json:
        skipped = [item.as_json() for item in made.skipped]
        return made.save_point.as_json() | ({"skipped": skipped} if skipped else {})

    ui.show(value, people, [made.save_point.save_point_id])
    for item in made.skipped[:_SHOWN] if not ui.json else ():
        ui.talk(f"skipped: {ui.name(item.path)} ({item.reason})")
    if len(made.skipped) > _SHOWN and not ui.json:
        ui.talk(f"skipped: {len(made.skipped) - _SHOWN:,} more")
    return 3 if made.skipped else 0


def _inside(directory: str, paths: tuple[str, ...], here: str) -> list[tuple[bytes, ...]]:
    """What --paths means: the names from the worktree down to each."""
    from jvs.workspace.partial import inside  # hardly ever asked for

    return [inside(directory, path, here) for path in paths]


def _read_note(file: str) -> str:
    """The note in a file, or on stdin, without the end of its last line; no more is read than a note may have."""
    try:
        if file == "-":
            return _decoded(sys.stdin.buffer)
        with open(file, "rb") as opened:
            return _decoded(opened)
    except OSError as error:
        raise StoreError(f"cannot read the note: {file}: {error.strerror}", next="jvs snapshot --help") from error


def _decoded(stream: BinaryIO) -> str:
    from jvs.labels.model import MAX_MESSAGE

    raw = stream.read(MAX_MESSAGE + 2)
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        if len(raw) > MAX_MESSAGE:  # cut in the middle of a character
            raise UsageError(
                f"the note has more than {MAX_MESSAGE:,} bytes; at most that many are allowed", code="bad-message"
            ) from None
        raise UsageError("the note is not UTF-8", code="bad-message") from None
