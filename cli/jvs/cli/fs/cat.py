"""`jvs fs cat`."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator

import click

from jvs.castore.names import json_fields, to_bytes
from jvs.cli.errors import Reported, as_jvs_error, error_json
from jvs.cli.ui import Ui, to_json
from jvs.cli.verb import labels, verb
from jvs.errors import JvsError, UsageError

EXAMPLES = """
jvs fs cat main:settings.toml
jvs fs cat main@{1}:data/points.csv --range 0-1023   # the first KiB
jvs fs cat main:model.bin --range -512 | xxd         # the last 512 bytes
"""

_TEXT_LIMIT = 1 << 20
"""Content up to this size is given as text in JSON where it is UTF-8; larger content is always base64, streamed."""


def parse_range(text: str) -> tuple[int | None, int | None]:
    """`0-99`, `100-`, `-50` as (first, last), both ends inclusive as in HTTP: (0, 99), (100, None), (None, 50).

    Raises UsageError.
    """
    first, dash, last = text.partition("-")
    numbers = all(not part or (part.isascii() and part.isdecimal() and len(part) < 20) for part in (first, last))
    if not (dash and numbers and (first or last)) or (first and last and int(first) > int(last)):
        raise UsageError(f"not a range of bytes: {text}", next="write 0-99, 100- or -50 (the last 50)")
    return int(first) if first else None, int(last) if last else None


@verb(
    "cat",
    examples=EXAMPLES,
    fields={
        "path": "REV:PATH as given",
        "path_b64": "its bytes, when they are not UTF-8",
        "encoding": "`utf-8`, or `base64` for content that is not UTF-8, or larger than 1 MiB",
        "content": "the bytes, in that encoding",
    },
    exits={8: "the content is damaged (what was printed before that was verified)"},
)
@click.argument("rev", metavar="REV:PATH", shell_complete=labels)
@click.option(
    "--range", "byte_range", metavar="START-END", help="Only these bytes, both ends inclusive: 0-99, 100-, -50."
)
def cat(ui: Ui, rev: str, byte_range: str | None) -> int:
    """Print a file of a snapshot, whatever its size, verified as it streams."""
    wanted = None if byte_range is None else parse_range(byte_range)
    with ui.open_repo() as repo:
        pieces = repo.cat(rev, wanted)
        if ui.json:
            _as_json(ui, rev, pieces)
            return 0
        ui.flush_data()
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return 0


def _as_json(ui: Ui, rev: str, pieces: Iterator[bytes]) -> None:
    """One JSON value, in bounded memory: base64 is written as the content comes."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) > _TEXT_LIMIT:
            break
    else:
        try:
            ui.emit({**json_fields(to_bytes(rev)), "encoding": "utf-8", "content": held.decode("utf-8")})
            return
        except UnicodeDecodeError:
            pass
    write = sys.stdout.write
    ui.answered = True
    write(to_json({**json_fields(to_bytes(rev)), "encoding": "base64"})[:-2] + ',\n  "content": "')
    error: JvsError | None = None
    try:
        while True:
            whole = len(held) - len(held) % 3
            write(base64.b64encode(held[:whole]).decode("ascii"))
            del held[:whole]
            held += next(pieces)
    except StopIteration:
        write(base64.b64encode(held).decode("ascii"))
    except BrokenPipeError:
        raise
    except BaseException as raised:  # also an interrupt: the value on stdout is completed first
        error = as_jvs_error(raised)
    write('"')
    if error is not None:
        write(',\n  "error": ' + to_json(error_json(error)).replace("\n", "\n  "))
    write("\n}\n")
    if error is not None:
        raise Reported(error)
