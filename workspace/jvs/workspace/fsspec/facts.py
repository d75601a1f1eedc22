"""What `info` and `ls` say of a path: plain data, as users of fsspec know it from local files, and the digest."""

from __future__ import annotations

import os
import stat
from typing import Any

from jvs.labels.model import LabelInfo
from jvs.overlay.overlay import Overlay

Facts = dict[str, Any]


def facts(overlay: Overlay, inner: str, name: str, *, listed: bool = False) -> Facts:
    """What is at `inner`; a link is followed. listed: as one of many in a listing, where a link to a directory (which
    may lead back up) is `other`, and a link that leads nowhere is no error.

    `name`, `size` (0 of a directory), `type` (`file`, `directory`, `other`), `mode`, `ino`, `nlink`, `uid`, `gid`,
    `created` and `mtime` (Unix time; of what a label has: when it became that), `islink`, `destination` (of a link),
    `digest` (hex; None for what is not pushed yet, and what is `other`), and `ETag`, which is the digest where there is
    one, and changes with each write where there is none (libraries that cache files look for it). Raises OSError.
    """
    path = inner or "/"
    status = overlay.lstat(path)
    link = stat.S_ISLNK(status.st_mode)
    more: Facts = {}
    kind = "other"
    size = 0
    if link:
        more["destination"] = overlay.readlink(path)
        try:
            status = overlay.stat(path)
        except OSError:
            if not listed:
                raise
    if stat.S_ISREG(status.st_mode):
        kind, size = "file", status.st_size
    elif stat.S_ISDIR(status.st_mode) and not (link and listed):
        kind = "directory"
    found = None if kind == "other" else overlay.digest(path)
    digest = None if found is None else found.hex()
    return {
        "name": name,
        "size": size,
        "type": kind,
        "created": status.st_ctime,
        "mtime": status.st_mtime,
        "mode": status.st_mode,
        "ino": status.st_ino,
        "nlink": status.st_nlink,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "islink": link,
        "digest": digest,
        "ETag": digest or f"{status.st_ino:x}-{status.st_mtime_ns:x}-{size:x}",
        **more,
    }


def listing(overlay: Overlay, inner: str, name: str) -> list[Facts]:
    """The facts of all that a directory has, in name order; of a file, its own. Raises OSError."""
    own = facts(overlay, inner, name)
    if own["type"] != "directory":
        return [own]
    return [
        facts(overlay, os.path.join(inner, entry), f"{name}/{entry}", listed=True)
        for entry in overlay.listdir(inner or "/")
    ]


def label_facts(name: str, label: LabelInfo | None = None) -> Facts:
    """A label in a listing; without it, a name that labels begin with: a directory of them."""
    found: Facts = {"name": name, "size": 0, "type": "directory", "islink": False, "digest": None}
    if label is not None:
        time = label.at_ms / 1000
        found.update(created=time, mtime=time, digest=label.ca_id.hex(), label=label.name, generation=label.generation)
    return found
