"""The pointer plane: labels, reflog, compare-and-set, revisions, lineage."""
