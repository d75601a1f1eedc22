"""`.jvs/descriptors/ID.json`: save points as files, for people and for scripts of the first JVS that read them.

They are exports: never the truth, never read by jvs, and may be deleted or made again at any time.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Final

from jvs.castore.binding import replace_file
from jvs.workspace.repository.layout import Layout
from jvs.workspace.repository.savepoints import SavePoint

FOLDER: Final = "descriptors"


def path_of(layout: Layout, save_point_id: str) -> str:
    """The file of that save point, whether or not it is there."""
    return os.path.join(layout.control, FOLDER, f"{save_point_id}.json")


def content_of(save_point: SavePoint) -> bytes:
    """What the file of a save point holds: its JSON."""
    return json.dumps(save_point.as_json(), indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def export(layout: Layout, save_point: SavePoint) -> None:
    """Write the file of a save point, anew if it is there. Raises OSError."""
    path = path_of(layout, save_point.save_point_id)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    replace_file(path, content_of(save_point), durable=False)


def export_softly(layout: Layout, save_point: SavePoint) -> None:
    """`export`, where a full disk, say, is no reason to report a failure: the save point itself is made."""
    with suppress(OSError):
        export(layout, save_point)
