"""`.jvs/descriptors/ID.json`: save points as files, for people and for scripts of the first JVS that read them.

They are exports: never the truth, never read by jvs, and may be deleted or made again at any time.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.binding import replace_file
from jvs.errors import JvsError
from jvs.workspace.repository.layout import Layout
from jvs.workspace.repository.savepoints import SavePoint

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository

FOLDER: Final = "descriptors"
SUFFIX: Final = ".json"
_MAX_FILE: Final = 1 << 20


def path_of(layout: Layout, save_point_id: str) -> str:
    """The file of that save point, whether or not it is there."""
    return os.path.join(layout.control, FOLDER, save_point_id + SUFFIX)


def content_of(save_point: SavePoint) -> bytes:
    """What the file of a save point holds: its JSON."""
    return json.dumps(save_point.as_json(), indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def export(layout: Layout, save_point: SavePoint) -> None:
    """Write the file of a save point, anew if it is there. Raises OSError."""
    path = path_of(layout, save_point.save_point_id)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    replace_file(path, content_of(save_point), durable=False)


class Differences(NamedTuple):
    """How the files differ from the save points that there are: ids. changed: a file is there that says something else;
    left: files of save points that are gone."""

    missing: list[str]
    changed: list[str]
    left: list[str]

    def any(self) -> bool:
        """Whether there is any."""
        return bool(self.missing or self.changed or self.left)


def compare(repository: Repository) -> Differences:
    """Look at every file."""
    layout, found = repository.layout, Differences([], [], [])
    there = {name.removesuffix(SUFFIX) for name in _names(layout) if name.endswith(SUFFIX)}
    for one in repository.all_save_points():
        if one.save_point_id not in there:
            found.missing.append(one.save_point_id)
        elif _read(path_of(layout, one.save_point_id)) != content_of(one):
            found.changed.append(one.save_point_id)
        there.discard(one.save_point_id)
    # one that was just made, or belongs to a label that no worktree has, is there as well
    return found._replace(left=[name for name in sorted(there) if not _is_there(repository, name)])


def rebuild(repository: Repository) -> Differences:
    """Make the files what they must be; how they differed. Raises OSError."""
    found = compare(repository)
    wanted = {*found.missing, *found.changed}
    for one in repository.all_save_points() if wanted else ():
        if one.save_point_id in wanted:
            export(repository.layout, one)
    for name in found.left:
        with suppress(FileNotFoundError):
            os.unlink(path_of(repository.layout, name))
    return found


def _is_there(repository: Repository, save_point_id: str) -> bool:
    try:
        return not repository.savepoints.find(save_point_id).entry.dropped
    except JvsError:
        return False


def _names(layout: Layout) -> list[str]:
    try:
        return os.listdir(os.path.join(layout.control, FOLDER))
    except FileNotFoundError:
        return []


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read(_MAX_FILE)
    except OSError:
        return None


def export_softly(layout: Layout, save_point: SavePoint) -> None:
    """`export`, where a full disk, say, is no reason to report a failure: the save point itself is made."""
    with suppress(OSError):
        export(layout, save_point)
