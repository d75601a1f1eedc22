"""Which kind of file system a path lies on: LMDB's locks and maps do not work across machines."""

from __future__ import annotations

import os

_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "ceph",
        "afs",
        "lustre",
        "gpfs",
        "beegfs",
        "ocfs2",
        "gfs2",
        "davfs",
    }
)
_FUSE_NETWORK = frozenset(
    {
        "juicefs",
        "sshfs",
        "glusterfs",
        "ceph",
        "ceph-fuse",
        "s3fs",
        "goofys",
        "gcsfuse",
        "rclone",
        "mount-s3",
        "blobfuse2",
    }
)


def network_filesystem(path: str) -> str | None:
    """The type of the network file system that `path` lies on; None when it is local, or nobody can say.

    Asks the mount table by device number, which is Linux's; elsewhere the answer is None.
    """
    status = os.stat(path)
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields, _, rest = line.partition(" - ")
                if fields.split(" ", 3)[2] == device:
                    kind = rest.split(" ", 1)[0]
                    return kind if is_network(kind) else None
    except OSError:
        pass
    return None


def is_network(kind: str) -> bool:
    """Whether a type in the mount table is known to be shared between machines."""
    name = kind.removeprefix("fuse.")
    return kind in _NETWORK or (name != kind and name in _FUSE_NETWORK)
