"""`jvs fs verify`."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

from jvs.cli.text import count, duration, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb
from jvs.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from jvs.castore.verify import Sample

EXAMPLES = """
jvs fs verify main          # one snapshot
jvs fs verify --all         # everything: objects, index, labels, journal
jvs fs verify --sample 10%  # a tenth of all objects, others each time
"""


@verb(
    "verify",
    examples=EXAMPLES,
    fields={
        "checked": "objects read and hashed",
        "bytes": "plain bytes read and hashed",
        "ok": "whether nothing is damaged",
        "damaged[].path": "where: LABEL:PATH or ID:PATH with --all, else the path; null when it has none",
        "damaged[].path_b64": "its bytes, when they are not UTF-8",
        "damaged[].digest": "which object, or null",
        "damaged[].reason": "what is wrong with it",
        "sample": "with --sample: `percent`, and the `seed` that chooses the same objects again",
        "error": "when something is damaged: code, message, next, details",
    },
    exits={8: "something is damaged (listed)"},
)
@click.argument("rev", required=False, shell_complete=labels)
@click.option("--all", "everything", is_flag=True, help="Everything in the store (the default without REV).")
@click.option(
    "--sample", "share", metavar="N%", help="Read a random share of the objects only; index, labels, journal wholly."
)
@click.option("--seed", help="Choose the objects of an earlier --sample again.")
def verify(ui: Ui, rev: str | None, everything: bool, share: str | None, seed: str | None) -> int:
    """Read every byte of a snapshot, or of everything in the store, and check it. With -q the damaged digests."""
    if rev is not None and everything:
        raise UsageError("give REV or --all, not both", next="jvs fs verify --help")
    if rev is not None and share is not None:
        raise UsageError("--sample is of everything; a snapshot is read wholly", next="jvs fs verify --help")
    sample = _sample(share, seed)
    started = time.perf_counter()
    with ui.open_repo() as repo, ui.progress("verify") as progress:
        result = repo.verify(rev, sample=sample, progress=progress)
    checked = (
        f"{count(result.checked, 'object')}, {size(result.bytes)} checked in {duration(time.perf_counter() - started)}"
    )
    if sample is not None:
        checked += f" ({sample.percent:g}% of all, --seed {sample.seed})"

    def people() -> list[str]:
        lines = [
            f"{ui.paint('damaged', 'red')}  {'-' if item.path is None else ui.name(item.path)}  {short(item.digest)}"
            f"  {ui.name(item.reason)}"
            for item in result.damaged
        ]
        return lines if lines else [f"{ui.paint('ok', 'green')}: {checked}"]

    error = None
    if not result.ok:
        error = IntegrityError(
            f"{len(result.damaged):,} of the things checked are damaged: {checked}", next="jvs doctor --repair"
        )
    damaged = [item.digest.hex() for item in result.damaged if item.digest is not None]
    return ui.show(result.as_json, people, damaged, error)


def _sample(share: str | None, seed: str | None) -> Sample | None:
    """What `--sample` and `--seed` ask for. Raises UsageError."""
    from jvs.castore.verify import Sample

    if share is None:
        if seed is not None:
            raise UsageError("--seed says which objects --sample takes", next="jvs fs verify --sample 10%")
        return None
    if not re.fullmatch(r"\d{1,3}(\.\d{1,6})?%?", share) or not 0 < float(share.removesuffix("%")) <= 100:
        raise UsageError(f"not a share: {share} (10%, 0.5%)", next="jvs fs verify --sample 10%")
    if seed is not None and not re.fullmatch(r"[A-Za-z0-9]{1,64}", seed):
        raise UsageError("a seed is 1 to 64 letters and digits", next="jvs fs verify --help")
    if seed is None:
        import secrets  # 3 ms that only a sample spends

        seed = secrets.token_hex(4)
    return Sample(float(share.removesuffix("%")), seed)
