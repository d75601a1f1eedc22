"""The pointer plane: labels, reflog, compare-and-set, revisions, lineage."""

from jvs.labels.model import ANYTHING, Entry, Expect, LabelInfo
from jvs.labels.moves import MoveRequest
from jvs.labels.protocol import LabelStore
from jvs.labels.revisions import Resolved, Revision
from jvs.labels.store import Labels

__all__ = ["ANYTHING", "Entry", "Expect", "LabelInfo", "LabelStore", "Labels", "MoveRequest", "Resolved", "Revision"]
