"""`jvs info`."""

from __future__ import annotations

from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb

EXAMPLES = """
jvs info
jvs info --json
"""


@workspace_verb(
    "info",
    examples=EXAMPLES,
    fields={
        "repo_root": "absolute path of the repository",
        "repo_id": "its name among all repositories",
        "format_version": "version of its format on disk",
        "snapshot_engine": "how worktrees are cloned: `juicefs-clone`, `reflink-copy`, `copy`",
        "total_worktrees": "how many worktrees it has",
        "total_snapshots": "how many snapshots they have, each counted once",
    },
)
def info(ui: Ui) -> int:
    """Say what the repository is. With -q its id."""
    from jvs.workspace.repository.info import info as look

    with ui.open_repository() as repository:
        found = look(repository)

    def people() -> list[str]:
        return [
            f"Repository: {ui.name(found.repo_root)}",
            f"  id:        {found.repo_id}",
            f"  format:    {found.format_version}",
            f"  store:     {ui.name(found.store)}",
            f"  engine:    {found.snapshot_engine}",
            f"  worktrees: {found.total_worktrees:,}",
            f"  snapshots: {found.total_snapshots:,}",
        ]

    return ui.show(found.as_json, people, [found.repo_id])
