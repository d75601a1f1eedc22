"""How a driver says why it passes a file on."""

from __future__ import annotations


class GiveUp(Exception):
    """A driver cannot merge these contents; the next one is asked. Means what returning None means, and says why."""
