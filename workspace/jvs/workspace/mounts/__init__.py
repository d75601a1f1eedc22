"""Mounts: a revision, a session or all labels as a directory of this machine (docs/mounts.md)."""

from jvs.workspace.mounts.live import LiveMount, MountRequest
from jvs.workspace.mounts.registry import MountInfo, list_mounts
from jvs.workspace.mounts.starting import mount, unmount

__all__ = ["LiveMount", "MountInfo", "MountRequest", "list_mounts", "mount", "unmount"]
