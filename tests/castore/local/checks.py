"""What must hold of a store whatever happened to it."""

from __future__ import annotations

from jvs.castore.backend import JournalRecord
from jvs.castore.digest import Digest
from jvs.castore.local.store import LocalStore
from jvs.castore.local.verify import verify_store
from tests.castore.local.driver import LABELS, tree


def labels_of(store: LocalStore) -> dict[bytes, bytes]:
    """The label table, known to be whole."""
    with store.read() as txn:
        txn.check_table(LABELS)
        return dict(txn.scan(LABELS))


def moves_of(records: list[JournalRecord]) -> dict[bytes, bytes]:
    """The label table as the journal tells it."""
    return {record.skeleton["label"]: record.skeleton["to"] for record in records}


def check_whole(store: LocalStore, acknowledged: dict[int, Digest], size: int = 200) -> None:
    """Everything acknowledged is there, nothing is half there, and journal and index agree."""
    assert list(verify_store(store)) == []
    labels = labels_of(store)
    for number, root in acknowledged.items():
        assert labels[b"r%d" % number] == root
    for name, root in labels.items():
        objects = tree(int(name[1:]), size)
        assert objects[-1][1] == root
        for kind, key, stored, _ in objects:
            assert store.get(kind, key) == stored
    records = list(store.journal_records())
    assert moves_of(records) == labels
    assert len(records) == len(labels)
