"""From a snapshot to a directory on disk, without ever losing what is unsaved there (DESIGN 4.4)."""

from __future__ import annotations

from jvs.castore.checkout.checkout import CheckoutResult, Unsaved, checkout, make_directory, recover
from jvs.castore.checkout.stage import Progress

__all__ = ["CheckoutResult", "Progress", "Unsaved", "checkout", "make_directory", "recover"]
