"""The format on disk, written out by hand as docs/format.md has it. A change here is a new format version."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import lmdb
import msgpack
from blake3 import blake3

from jvs.castore.backend import Codec, Kind, Ref, Stored, Table, WriteTxn
from jvs.castore.digest import page_digest
from jvs.castore.local.store import LocalStore
from jvs.castore.settings import StoreSettings


def keyed(context: str, data: bytes, size: int) -> bytes:
    return blake3(data, derive_key_context=context).digest(size)


def check8(data: bytes) -> bytes:
    return keyed("jvs 2026-11 index checksum v1", data, 8)


def pack(data: bytes, size: int) -> bytes:
    return keyed("jvs 2026-11 pack record v1", data, size)


def record(kind: int, key: bytes, data: bytes, *, seq: int = 0) -> bytes:
    header = b"jvsR" + struct.pack(">BBHIII", kind, 0, 0, len(data), len(data), seq) + key + pack(data, 16)
    return header + pack(header, 8) + data


def row(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    return key, check8(struct.pack(">H", len(key)) + key + value) + value


def test_every_byte(tmp_path: Path) -> None:
    leaf, part = page_digest(b"leaf"), bytes(range(32))
    where = tmp_path / "store"
    with LocalStore.create(where, StoreSettings(zstd_level=3)) as store:
        uuid = store.uuid

        def then(txn: WriteTxn) -> None:
            txn.put(Table("labels"), b"main", leaf)
            txn.journal("move", {"to": leaf}, {"message": "hello"})

        with store.writer() as writer:
            writer.put(Kind.PART, part, Stored(Codec.RAW, 9, b"some part"))
            writer.put(Kind.LAYOUT, leaf, Stored(Codec.RAW, 6, b"layout"), [Ref(Kind.PART, part)])
            writer.put(Kind.PAGE, leaf, Stored(Codec.RAW, 4, b"leaf"), [Ref(Kind.LAYOUT, leaf)])
            writer.publish(then)
        with store.read() as txn:
            last = txn.id

    (path,) = (where / "packs").iterdir()
    name = bytes.fromhex(path.stem)
    head = b"jvspack1" + name
    records = [record(5, part, b"some part"), record(4, leaf, b"layout", seq=1), record(3, leaf, b"leaf")]
    packed = head + pack(head, 8) + b"".join(records)
    assert path.read_bytes() == packed

    skeleton, body = msgpack.packb({"to": leaf}), msgpack.packb({"message": "hello"})
    line = (where / "journal").read_bytes()
    at_ms = msgpack.unpackb(line[24:])[1]
    covered = [0, at_ms, "move", skeleton, keyed("jvs 2026-11 reflog body v1", body, 32)]
    digest = keyed("jvs 2026-11 journal record v1", msgpack.packb([*covered, bytes(32)]), 32)
    written = msgpack.packb([*covered, body, bytes(32), digest])
    lengths = struct.pack(">IQ", len(written), last)
    assert line == b"jvsJ" + lengths + check8(lengths + written) + written

    offsets = [32, 32 + len(records[0]), 32 + len(records[0]) + len(records[1])]

    def place(at: int, size: int, height: int = 0, seq: int = 0) -> bytes:
        return name + struct.pack(">QIIBHI", offsets[at], size, size, 0, height, seq)

    rows = [
        row(b"O\0\x03" + leaf, place(2, 4, height=1)),
        row(b"O\0\x04" + leaf, place(1, 6, seq=1)),
        row(b"O\0\x05" + part, place(0, 9)),
        row(b"P\0" + name, struct.pack(">BQQ", 0, len(packed), len(packed) - 32)),
        row(b"Q\0" + name, b""),
        row(b"labels\0main", leaf),
    ]
    sums = []
    for table in (b"O", b"P", b"Q", b"labels"):
        mine = [value[:8] for key, value in rows if key.startswith(table + b"\0")]
        mixed = 0
        for check in mine:
            mixed ^= int.from_bytes(check, "big")
        sums.append(row(b"V\0" + table, struct.pack(">QQ", len(mine), mixed)))
    rows += [
        row(b"U\0head", struct.pack(">QQQ", len(line), 1, at_ms) + digest),
        row(b"T\0" + bytes(8), line),
        *sums,
    ]
    with lmdb.open(str(where / "index"), readonly=True) as index, index.begin() as view:
        assert list(view.cursor().iternext()) == sorted(rows)

    def slot(place: int, number: int) -> bytes:
        return struct.pack(">Q", number) + check8(b"committed" + struct.pack(">QQ", place, number))

    noted = (where / "committed").read_bytes()
    assert len(noted) == 4097 * 16
    assert noted[last * 16 : last * 16 + 16] == slot(last, last)
    assert noted[-16:] == slot(4096, 1)
    used = {at for at in range(4097) if noted[at * 16 : at * 16 + 16] != bytes(16)}
    assert used == {*range(1, last + 1), 4096}

    settings = {
        "chunk_avg": 1 << 20,
        "chunk_max": 4 << 20,
        "chunk_min": 1 << 18,
        "inline_limit": 65536,
        "zstd_level": 3,
    }
    text = json.dumps({"settings": settings, "store": uuid}, indent=2, sort_keys=True).encode() + b"\n"
    check = keyed("jvs 2026-11 index checksum v1", text, 32).hex().encode()
    assert (where / "config").read_bytes() == text + b"checksum " + check + b"\n"
    assert (where / "format_version").read_bytes() == b"1\n"
    users = (where / "index" / "users").read_bytes()
    status = (where / "index" / "data.mdb").stat()
    assert users == f"clean {status.st_ino} {status.st_size} {status.st_mtime_ns}".encode().ljust(128)
