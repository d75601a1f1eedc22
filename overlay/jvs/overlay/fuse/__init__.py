"""Overlays and snapshots as file systems of the kernel, by FUSE (docs/mounts.md)."""
