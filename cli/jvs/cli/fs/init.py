"""`jvs fs init`."""

from __future__ import annotations

import click

from jvs.cli.ui import Ui
from jvs.cli.verb import directories, verb
from jvs.errors import UsageError

EXAMPLES = """
jvs fs init
jvs fs init /srv/store --zstd-level 3
jvs fs init --chunk 1M:4M:16M --inline 16384
"""

_UNITS = {"": 0, "K": 10, "M": 20}


@verb(
    "init",
    examples=EXAMPLES,
    fields={
        "store": "absolute path of the store",
        "format_version": "version of its format on disk",
        "created": "false when it was there already, and nothing was done",
    },
    exits={1: "PATH is a directory that holds something else"},
)
@click.argument("path", required=False, shell_complete=directories)
@click.option("--chunk", metavar="MIN:AVG:MAX", help="Sizes of the pieces of large files [default: 256K:1M:4M].")
@click.option("--inline", type=int, metavar="BYTES", help="Largest file stored with its neighbours [default: 65536].")
@click.option("--zstd-level", type=int, metavar="N", help="Compression, 1 (fast) to 19 (small) [default: 1].")
def init(ui: Ui, path: str | None, chunk: str | None, inline: int | None, zstd_level: int | None) -> int:
    """Make a store at PATH (default: --store, JVS_STORE, else .jvs here).

    The settings change how content is stored, never what it is called: stores with different ones agree on every id.
    On a store that exists nothing is changed.
    """
    from jvs.castore.settings import StoreSettings
    from jvs.workspace.locate import init_path
    from jvs.workspace.repo import Repo

    given: dict[str, int] = {}
    if chunk is not None:
        given["chunk_min"], given["chunk_avg"], given["chunk_max"] = parse_chunk_sizes(chunk)
    if inline is not None:
        given["inline_limit"] = inline
    if zstd_level is not None:
        given["zstd_level"] = zstd_level
    where = init_path(path, ui.store, ui.env_store(), ui.here())
    result = Repo.init(where, StoreSettings(**given))

    def people() -> list[str]:
        return [
            f"made the store {ui.name(result.store)}" if result.created else f"already a store: {ui.name(result.store)}"
        ]

    return ui.show(result.as_json, people)


def parse_chunk_sizes(text: str) -> tuple[int, int, int]:
    """`256K:1M:4M` or plain bytes, as (min, avg, max). Raises UsageError (bad-setting)."""
    sizes = [_parse_size(part) for part in text.split(":")]
    if len(sizes) != 3 or None in sizes:
        raise UsageError(f"not MIN:AVG:MAX: {text}", code="bad-setting", next="write for instance --chunk 256K:1M:4M")
    return sizes[0] or 0, sizes[1] or 0, sizes[2] or 0


def _parse_size(text: str) -> int | None:
    digits, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16 and unit in _UNITS):
        return None
    return int(digits) << _UNITS[unit]
