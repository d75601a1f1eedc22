"""`jvs fs recorded`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.text import ago, columns
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.workspace.merging.recorded import Resolution

EXAMPLES = """
jvs fs recorded                  # how conflicts were settled so far
jvs fs recorded 4f2a91           # what one of them does
jvs fs recorded 4f2a91 --forget
"""


@verb(
    "recorded",
    examples=EXAMPLES,
    fields={
        "recorded[].id": "id of a resolution",
        "recorded[].path": "the file it was recorded for",
        "recorded[].path_b64": "its bytes, when they are not UTF-8",
        "recorded[].at": "when",
        "patch": "with an ID: a unified diff from the conflict to how it was settled",
        "forgotten": "whether it was forgotten (--forget)",
    },
)
@click.argument("id", required=False)
@click.option("--forget", is_flag=True, help="Forget the resolution of that id.")
def recorded(ui: Ui, id: str | None, forget: bool) -> int:
    """List how conflicts were settled (newest first), or show or forget one of them.

    fs resolve records; fs merge uses what is recorded when the same conflict comes back (unless --no-recorded).
    """
    if forget and id is None:
        raise UsageError("say which resolution to forget", next="jvs fs recorded")
    with ui.open_repo() as repo:
        kept = repo.recorded
        found = kept.list() if id is None else [kept.get(id)]
        if forget:
            kept.forget(found[0].id)
    patch = None if id is None else _patch(found[0])

    def value() -> Json:
        shown: Json = {"recorded": [one.as_json() for one in found]}
        return shown | ({} if patch is None else {"patch": patch, "forgotten": forget})

    def people() -> Iterator[str]:
        if patch is None:
            yield from _list(ui, found)
        else:
            yield from map(ui.name, patch.splitlines())
            if forget:
                yield f"{ui.paint('forgot', 'green')} {found[0].id[:12]}"

    return ui.show(value, people, [one.id for one in found])


def _patch(one: Resolution) -> str:
    from jvs.merge.lines import unified

    return b"".join(unified(one.before, one.after)).decode("utf-8", "replace")


def _list(ui: Ui, found: list[Resolution]) -> list[str]:
    from jvs.labels.store import wall_clock

    now = wall_clock()
    return columns([[ui.paint(one.id[:12], "yellow"), ago(one.at_ms, now), ui.name(one.path)] for one in found])
