"""`fs resolve DIR`: what somebody made of a conflicted merge becomes the merge, with both sides as its parents."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE
from jvs.castore.names import CONFLICTS_FILE, display, json_fields
from jvs.errors import JvsError, LabelMovedError, StateError, StoreError, UsageError
from jvs.labels.names import check_label_name
from jvs.labels.store import wall_clock
from jvs.merge.content import Contents
from jvs.merge.model import Limits, Path
from jvs.workspace.directories import load_binding
from jvs.workspace.merging import worksite
from jvs.workspace.merging.recorded import Recorded
from jvs.workspace.merging.results import Applied
from jvs.workspace.merging.taking import take
from jvs.workspace.merging.worksite import Clash, Merging
from jvs.workspace.push import PushOptions, push_directory
from jvs.workspace.results import Json, PushResult

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo

SHOWN_PATHS = 1_000
"""Files that still hold markers which an error lists."""


class ResolveResult(NamedTuple):
    """`fs resolve`: the push that ended the merge, the paths that `--take` wrote or removed, what was recorded.

    untouched  conflicts without room for markers that are as they were laid out, one side of which nobody looked at
    """

    push: PushResult
    taken: tuple[bytes, ...]
    recorded: tuple[Applied, ...]
    untouched: tuple[Clash, ...]

    @property
    def error(self) -> JvsError | None:
        """Set when the label had moved meanwhile."""
        return self.push.error

    def as_json(self) -> Json:
        """The fields of the push, and {taken, recorded, untouched}."""
        return {
            **self.push.as_json(),
            "taken": [json_fields(path) for path in self.taken],
            "recorded": [one.as_json() for one in self.recorded],
            "untouched": [json_fields(b"/".join(one.path)) | {"kind": one.kind} for one in self.untouched],
        }


class ResolveOptions(NamedTuple):
    """What `fs resolve` was asked to do; see the options of the command of the same names."""

    side: str | None = None
    paths: Sequence[str] = ()
    label: str | None = None
    force: bool = False
    message: str = ""
    record: bool = True


def resolve(repo: Repo, directory: str, options: ResolveOptions, progress: Progress | None = None) -> ResolveResult:
    """Take sides where that was asked, then push the directory as the merge and forget that it stood in one.

    Raises StateError: no-merge; merge-conflict while files hold markers (unless forced). UsageError without a label.
    """
    merging = worksite.load(directory)
    label = options.label if options.label is not None else merging.into
    if label is None:
        raise UsageError("the merge names no label to move", next=f"{_command(directory)} --label LABEL")
    check_label_name(label)
    if not options.force:
        _check_place(repo, directory, merging)
    taken: list[Path] = []
    if options.side is not None:
        taken = take(repo, directory, merging, options.side, options.paths)
    left = worksite.with_markers(directory, merging)
    if left and not options.force:
        raise _still_marked(directory, left)
    result = _push(repo, directory, merging, label, options, progress)
    recorded: list[Applied] = []
    if result.error is None:
        worksite.finish(directory)
        if options.record and not left:
            recorded = _record(repo, merging, result.ca_id)
    untouched = _untouched(repo, merging, result.ca_id, taken)
    return ResolveResult(result, tuple(b"/".join(path) for path in taken), tuple(recorded), untouched)


def _check_place(repo: Repo, directory: str, merging: Merging) -> None:
    """Raise StateError (no-merge) when the directory was made something else since `fs merge` wrote it: what a pull
    brought is nobody's merge."""
    binding = load_binding(repo, directory)
    if binding is not None and binding.ca_id != merging.merged:
        name = os.path.join(directory, CONFLICTS_FILE.decode())
        raise StateError(
            f"{directory} was pulled or pushed as something else since fs merge wrote it",
            code="no-merge",
            next=f"{shlex.join(['rm', name])} (or, if it is that merge all the same: jvs fs resolve --force)",
        )


def _command(directory: str) -> str:
    return shlex.join(["jvs", "fs", "resolve", directory])


def _still_marked(directory: str, left: list[bytes]) -> StateError:
    where = display(left[0]) if len(left) == 1 else f"{len(left):,} files"
    return StateError(
        f"conflict markers are left in {where}",
        code="merge-conflict",
        next=f"edit them, then: {_command(directory)} (or --take ours|theirs PATH, or --force)",
        paths=[json_fields(path) | {"reason": "holds conflict markers"} for path in left[:SHOWN_PATHS]],
        count=len(left),
    )


def _push(
    repo: Repo, directory: str, merging: Merging, label: str, options: ResolveOptions, progress: Progress | None
) -> PushResult:
    head = repo.labels.get(label)
    # a label that moved since makes it a rejected push: kept for a day, with the entries it came from, to be merged
    at = head is not None and head.ca_id == merging.ours
    expected = str(head.generation) if at and head is not None else "0"
    message = options.message or f"merge into {label}, settled by hand"
    entries = merging.theirs_entries if at else (*merging.ours_entries, *merging.theirs_entries)
    pushed = PushOptions(label, expected, message=message, always=True, merged=entries)
    result = push_directory(repo, directory, pushed, progress)
    if result.error is None:
        return result
    moved = LabelMovedError(
        f"{label} moved since the merge was made; how it was settled is stored as {result.ca_id.hex()[:12]}",
        next=result.error.next,
        **result.error.details,
    )
    return result._replace(error=moved)


def _record(repo: Repo, merging: Merging, result: Digest) -> list[Applied]:
    """Record how each conflict of lines was settled."""
    kept = Recorded(repo.store.path)
    out: list[Applied] = []
    for clash in merging.clashes:
        contents = _contents(repo, merging, clash)
        resolved = _bytes(repo, result, clash.path)
        if contents is None or resolved is None:
            continue
        with suppress(StoreError):  # a full disk, say: the merge is made all the same
            name = kept.record(b"/".join(clash.path), contents, resolved, wall_clock())
            if name is not None:
                out.append(Applied(b"/".join(clash.path), name))
    return out


def _untouched(repo: Repo, merging: Merging, result: Digest, taken: Sequence[Path]) -> tuple[Clash, ...]:
    """The conflicts without markers that nobody took a side in and that are in the result as they were laid out. That
    may be meant; but no marker told of what the other side has there, so it is said."""
    if not repo.has_snapshot(merging.merged):
        return ()
    known = set(taken)
    return tuple(
        clash
        for clash in merging.clashes
        if not clash.marker_size
        and not any(clash.at(path) for path in known)
        and all(
            _what(repo, merging.merged, path, clash) == _what(repo, result, path, clash)
            for path in {clash.path, *clash.placed}
        )
    )


def _what(repo: Repo, snapshot: Digest, path: Path, clash: Clash) -> tuple[object, ...] | None:
    """What a snapshot has at a path, as far as the conflict is about it."""
    found = repo.objects.find(snapshot, path) if path else None
    if found is None:
        return None
    entry = found.entry
    return entry[1:3] if clash.kind == "mode" or entry[1] == DIRECTORY else entry


def _contents(repo: Repo, merging: Merging, clash: Clash) -> Contents | None:
    ours, theirs = (_bytes(repo, *side) for side in ((merging.ours, clash.ours), (merging.theirs, clash.theirs)))
    if ours is None or theirs is None or not clash.marker_size:
        return None
    base = None if merging.base is None else _bytes(repo, merging.base, clash.base)
    return Contents(base, ours, theirs)


def _bytes(repo: Repo, snapshot: Digest, path: Path | None) -> bytes | None:
    """The content of a file, None when there is none or it is too large to be merged by lines."""
    if path is None or not path or not repo.has_snapshot(snapshot):
        return None
    found = repo.objects.find(snapshot, path)
    if found is None or found.entry[1] != FILE or found.entry[3] > Limits().content:
        return None
    return b"".join(repo.objects.read(found.page, found.entry))
