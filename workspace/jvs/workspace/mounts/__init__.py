"""Mounts: a revision, a session or all labels as a directory of this machine (docs/mounts.md).

Who serves one by himself takes `live.LiveMount`; starting one in another process needs much less of jvs.
"""

from jvs.workspace.mounts.registry import MountInfo, MountRequest, list_mounts
from jvs.workspace.mounts.starting import mount, unmount

__all__ = ["MountInfo", "MountRequest", "list_mounts", "mount", "unmount"]
