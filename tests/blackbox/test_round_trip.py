"""Hostile trees pushed and pulled: what comes back is what was there, and what is not saved is never lost.

Compared by `trees`, which knows nothing of jvs.
"""

from __future__ import annotations

import mmap
import os
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox import trees
from tests.blackbox.conftest import Jvs

NOBODY = 65534
AS_NOBODY = f"""
import encodings.ascii, importlib, mmap, os, pathlib, pkgutil, subprocess, tempfile
import jvs.castore, jvs.cli, jvs.labels, jvs.workspace
for package in (jvs.castore, jvs.cli, jvs.labels, jvs.workspace):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("conformance"):  # which wants pytest
            importlib.import_module(module.name)
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
jvs.cli.main.main()
"""
"""Becomes nobody with everything imported: that user may not be able to read where Python and the code lie."""
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")


def pulled_like(jvs: Jvs, revision: str, source: Path, name: str = "pulled") -> Path:
    """Pull into a new directory, assert that it is like `source`, and that pushing it gives the same id."""
    target = jvs.where / name
    value = jvs.json("fs", "pull", revision, target)
    there = trees.ordinary_bits(trees.look(source))
    assert trees.differences(there, trees.look(target)) == []
    assert value["warnings"] == []
    again = jvs.json("fs", "push", target, "--detach", "--rehash")
    assert (again["ca_id"], again["stats"]["objects"]) == (value["ca_id"], 0)
    return target


def listed(jvs: Jvs, revision: str) -> trees.Look:
    """What `fs tree` says is there, in the form of `trees.look` by BLAKE3."""
    found: trees.Look = {}
    entries = jvs.json("fs", "tree", revision)["entries"]
    for path, target, row in zip(trees.in_bytes(entries), trees.in_bytes(entries, "target"), entries, strict=True):
        content = bytes.fromhex(row["digest"]) if row["kind"] == "file" else target
        size = row["size"] if row["kind"] == "file" else 0
        found[path] = trees.Node(row["kind"], int(row["mode"] or "0", 8), size, content)
    return found


# what trees are made of


@pytest.mark.parametrize("feature", trees.FEATURES)
def test_it_comes_back(feature: str, jvs: Jvs) -> None:
    """Into a new directory; as listed; and back again where a later push had removed it."""
    source = jvs.where / "source"
    (jvs.where / "empty").mkdir()
    source.mkdir()
    trees.FEATURES[feature](source)
    before = trees.look(source)
    jvs("fs", "init").ok()
    pushed = jvs.json("fs", "push", source, "--label", "main")
    assert pushed["skipped"] == []
    assert pushed["stats"]["files"] == sum(node.kind != "directory" for node in before.values())
    assert pushed["stats"]["directories"] == sum(node.kind == "directory" for node in before.values())
    assert pushed["stats"]["bytes"] == sum(node.size for node in before.values())
    assert trees.differences(before, trees.look(source)) == []  # a push changes nothing
    assert trees.differences(trees.look(source, "blake3"), listed(jvs, "main")) == []
    assert pushed["ca_id"] == trees.identity(trees.look(source, "blake3"))

    target = pulled_like(jvs, "main", source)
    jvs("fs", "push", "empty", "--label", "main", "--force").ok()
    gone = jvs.json("fs", "pull", "main", target)
    assert trees.look(target) == {}
    assert gone["removed"] == len(before)
    jvs("fs", "pull", "main@1", target).ok()
    assert trees.differences(trees.ordinary_bits(before), trees.look(target)) == []
    assert jvs.json("fs", "verify", "--all")["ok"]


def make_all(top: Path) -> None:
    """Every feature, each in a directory of its own."""
    for feature, make in trees.FEATURES.items():
        (top / feature).mkdir(parents=True)
        make(top / feature)


@needs_root
@pytest.mark.parametrize("who", ["owner without privileges", "nobody"])
def test_all_of_it_comes_back_to_an_ordinary_user(who: str, jvs: Jvs, common: Path) -> None:
    """Whom mode bits do hold back from writing into, and from clearing, directories of their own."""
    make_all(common / "source")
    (common / "empty").mkdir()
    if who == "nobody":
        trees.chown_all(common, NOBODY)
        jvs.code = AS_NOBODY
    else:
        jvs.ordinary = True
    jvs.where = common
    before = trees.look(common / "source")
    jvs("fs", "init").ok()
    assert jvs.json("fs", "push", "source", "--label", "main")["skipped"] == []
    target = pulled_like(jvs, "main", common / "source")
    jvs("fs", "push", "empty", "--label", "main", "--force").ok()
    jvs("fs", "pull", "main", target).ok()
    assert trees.look(target) == {}
    jvs("fs", "pull", "main@1", target).ok()
    assert trees.differences(trees.ordinary_bits(before), trees.look(target)) == []


@pytest.fixture
def common() -> Iterator[Path]:
    """A temporary directory that an ordinary user can reach too (pytest closes its own to others)."""
    path = Path(tempfile.mkdtemp(prefix="jvs-test-"))
    path.chmod(0o755)
    yield path
    trees.remove(path)


def test_setuid_and_setgid_of_files_come_back_only_when_asked_for(jvs: Jvs) -> None:
    source = jvs.where / "source"
    source.mkdir()
    modes = [0o4755, 0o2755, 0o6711, 0o1644, 0o7777]
    for mode in modes:
        trees.write(source / f"{mode:o}", b"run me", mode)
    jvs("fs", "init").ok()
    ca_id = jvs.json("fs", "push", source, "--label", "main")["ca_id"]
    jvs("fs", "pull", "main", "plain").ok()
    plain = trees.look(jvs.where / "plain")
    assert {path: node.mode for path, node in plain.items()} == {b"%o" % mode: mode & 0o777 for mode in modes}
    pushed = jvs.json("fs", "push", "plain")  # what could not be applied is not a change
    assert (pushed["status"], pushed["ca_id"]) == ("unchanged", ca_id)
    jvs("fs", "pull", "main", "special", "--special-modes").ok()
    assert trees.differences(trees.look(source), trees.look(jvs.where / "special")) == []


@needs_root
def test_setgid_that_a_user_may_not_set_is_no_change(jvs: Jvs) -> None:
    """Below a setgid directory of another group, chmod of an ordinary user silently drops the bit."""
    source = jvs.where / "source"
    (source / "shared").mkdir(parents=True)
    (source / "shared").chmod(0o2775)
    trees.write(source / "shared" / "file", b"1")
    jvs("fs", "init").ok()
    ca_id = jvs.json("fs", "push", source, "--label", "main")["ca_id"]
    target = jvs.where / "target"
    target.mkdir()
    os.chown(target, 0, 4242)
    target.chmod(0o2775)
    jvs.ordinary = True
    warnings = jvs.json("fs", "pull", "main", target)["warnings"]
    assert not (target / "shared").stat().st_mode & stat.S_ISGID
    assert any("shared" in warning for warning in warnings)
    pushed = jvs.json("fs", "push", target, "--rehash")
    assert (pushed["status"], pushed["ca_id"]) == ("unchanged", ca_id)


def test_a_setgid_bit_that_directories_inherit_is_taken_away(jvs: Jvs) -> None:
    """New directories below a setgid directory have the bit from birth, also those that are to have none."""
    source = jvs.where / "source"
    (source / "plain" / "below").mkdir(parents=True)
    trees.make_setgid(source)
    jvs("fs", "init").ok()
    jvs("fs", "push", source, "--label", "main").ok()
    (jvs.where / "pulled").mkdir()
    (jvs.where / "pulled").chmod(0o2775)
    pulled_like(jvs, "main", source)
    assert stat.S_IMODE((jvs.where / "pulled").stat().st_mode) == 0o2775  # the root's own mode is not versioned


# special files


@pytest.fixture
def special(jvs: Jvs) -> dict[bytes, str]:
    """A store, and a directory `source` that holds more than files; its special files, and what they are called."""
    source = jvs.where / "source"
    (source / "below").mkdir(parents=True)
    trees.write(source / "file", b"kept")
    trees.write(source / "below" / "file", b"kept too")
    os.mkfifo(source / "fifo")
    os.mkfifo(os.fsencode(source) + b"/below/-fifo\n\xff")
    kinds = {b"fifo": "FIFO", b"below/-fifo\n\xff": "FIFO", b"socket": "socket"}
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:  # the path is to be short
        os.symlink(source, Path(short) / "d")
        server.bind(os.path.join(short, "d", "socket"))
    if ROOT:
        os.mknod(source / "character", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(source / "block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
        kinds |= {b"character": "character device", b"block": "block device"}
    jvs("fs", "init").ok()
    return kinds


def test_fifo_socket_and_device_are_skipped_listed_and_exit_3(special: dict[bytes, str], jvs: Jvs) -> None:
    source = jvs.where / "source"
    for status in ("advanced", "unchanged"):
        done = jvs("fs", "push", "source", "--label", "main", "--json")
        assert done.status == 3
        assert done.value["status"] == status
        skipped = dict(zip(trees.in_bytes(done.value["skipped"]), done.value["skipped"], strict=True))
        assert skipped.keys() == special.keys()
        assert all(kind in skipped[path]["reason"] for path, kind in special.items())
    people = jvs("fs", "push", "source", "--always")
    assert people.status == 3
    assert sum(line.startswith("skipped: ") for line in people.err.splitlines()) == len(special)
    jvs("fs", "pull", "main", "pulled").ok()
    there = {path: node for path, node in trees.look(source).items() if path not in special}
    assert trees.differences(there, trees.look(jvs.where / "pulled")) == []


def test_special_files_stay_through_a_pull(special: dict[bytes, str], jvs: Jvs) -> None:
    source = jvs.where / "source"
    assert jvs("fs", "push", "source", "--label", "main").status == 3
    (source / "file").write_bytes(b"newer")
    assert jvs("fs", "push", "source").status == 3
    jvs("fs", "pull", "main@1", "source").ok()
    assert (source / "file").read_bytes() == b"kept"
    assert special.keys() == {path for path, node in trees.look(source).items() if node.kind == "special"}


def test_a_special_file_in_the_way_of_a_pull_is_not_removed(special: dict[bytes, str], jvs: Jvs) -> None:
    source = jvs.where / "source"
    (jvs.where / "other").mkdir()
    trees.write(jvs.where / "other" / "fifo", b"a file of that name")
    jvs("fs", "push", "other", "--label", "other").ok()
    assert jvs("fs", "push", "source", "--label", "main").status == 3
    before = trees.look(source)
    done = jvs("fs", "pull", "other", "source", "--json")
    assert done.status == 1
    assert done.value["error"]["code"] == "unsaved-changes"
    assert trees.differences(before, trees.look(source)) == []


# sizes and numbers


def test_a_sparse_file_of_5_gib_comes_back_sparse(jvs: Jvs) -> None:
    """Both ways within `jvs.patience`, and with no more on disk than the chunks that are not all zero."""
    size = 5 << 30
    islands = {0: b"head", 3_000_000_000: b"in the middle", size - 4: b"tail"}
    source = jvs.where / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for offset, data in islands.items():
            file.seek(offset)
            file.write(data)
    trees.write(source / "hole", b"")
    os.truncate(source / "hole", 64 << 20)
    jvs("fs", "init").ok()
    value = jvs.json("fs", "push", source, "--label", "main")
    assert value["stats"]["bytes"] == size + (64 << 20)
    assert value["stats"]["stored_bytes"] < 1 << 20
    jvs("fs", "pull", "main", "pulled").ok()
    for name, most in (("sparse", len(islands) * (4 << 20)), ("hole", 4096)):
        pulled = jvs.where / "pulled" / name
        assert pulled.stat().st_blocks * 512 <= most
        assert trees.same_sparse_content(source / name, pulled)
    again = jvs("fs", "cat", "main:sparse", "--range", "2999999990-3000000020").ok()
    assert again.out == "\0" * 10 + "in the middle" + "\0" * 8


def test_a_directory_of_200_000_files_comes_back(jvs: Jvs) -> None:
    count = 200_000
    jvs.patience = 600.0  # two minutes are long, but not on a machine that does six other things
    with trees.room(jvs.where, 2) as where:
        jvs.where = where
        trees.make_many(where / "source", count)
        jvs("fs", "init").ok()
        value = jvs.json("fs", "push", "source", "--label", "main")
        assert value["stats"]["files"] == count
        there = trees.look(where / "source", "blake3")
        assert value["ca_id"] == trees.identity(there)
        jvs("fs", "pull", "main", "pulled").ok()
        assert trees.differences(there, trees.look(where / "pulled", "blake3")) == []


def test_files_of_every_critical_size_and_their_neighbours_survive_an_edit(jvs: Jvs) -> None:
    """Each grows by a byte and shrinks by one: across the inline limit, the least and the most a chunk can be."""
    source = jvs.where / "source"
    source.mkdir()
    trees.make_sizes(source)
    jvs("fs", "init").ok()
    jvs("fs", "push", source, "--label", "main").ok()
    first = trees.look(source)
    for path in source.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:-1] if "noise" in path.name else data + b"+")
    jvs("fs", "push", source).ok()
    second = trees.look(source)
    for revision, there in (("main@1", first), ("main@2", second), ("main@1", first)):
        jvs("fs", "pull", revision, source).ok()
        assert trees.differences(there, trees.look(source)) == []
    assert jvs.json("fs", "verify", "--all")["ok"]


# a file rewritten through mmap, its times unchanged


MINE = b"written through the map"


@pytest.fixture(params=["replace", "remove"])
def rewritten(request: pytest.FixtureRequest, jvs: Jvs) -> Path:
    """A directory pushed twice, so that a pull of main@1 would replace or remove `file`; its content was changed
    through a map since, and nothing that stat tells shows it."""
    source = jvs.where / "source"
    source.mkdir()
    trees.write(source / "other", b"1")
    if request.param == "replace":
        trees.write(source / "file", b"the first content")
    jvs("fs", "init").ok()
    jvs("fs", "push", source, "--label", "main").ok()
    for _ in range(10):  # the kernel may begin to write the file back meanwhile, and notice the next change
        if rewrite_unseen(jvs, source):
            break
        jvs("fs", "reset", "main", "main@1").ok()
    else:
        pytest.fail("the times changed each time: no file could be prepared")
    return source


def rewrite_unseen(jvs: Jvs, source: Path) -> bool:
    """Push new content of `file`, and change it through a map that was there before; whether stat tells nothing."""
    (source / "file").write_bytes(b"the second content".ljust(8192, b"."))
    with open(source / "file", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[100] = 1  # the page is dirty from now on: no further write to it is noticed
        time.sleep(2.2)  # old enough for the stat index to be believed
        jvs("fs", "push", source, "--force").ok()
        before = os.stat(source / "file")
        memory[: len(MINE)] = MINE
        after = os.stat(source / "file")
    return before == after


def test_a_file_rewritten_through_mmap_is_never_lost_by_a_pull(rewritten: Path, jvs: Jvs) -> None:
    before = trees.look(rewritten)
    done = jvs("fs", "pull", "main@1", rewritten, "--json")
    assert done.status == 1
    assert done.value["error"]["code"] == "unsaved-changes"
    assert "file" in done.value["error"]["details"]["paths"]
    assert trees.differences(before, trees.look(rewritten)) == []


def test_a_file_rewritten_through_mmap_is_saved_by_autosave(rewritten: Path, jvs: Jvs) -> None:
    before = (rewritten / "file").read_bytes()
    value = jvs.json("fs", "pull", "main@1", rewritten, "--autosave")
    assert value["autosaved"] is not None
    saved = jvs.where / "saved"
    jvs("fs", "pull", value["autosaved"], saved).ok()
    assert (saved / "file").read_bytes() == before
    first = jvs.where / "first"
    jvs("fs", "pull", "main@1", first).ok()
    assert trees.differences(trees.look(first), trees.look(rewritten)) == []


def test_a_file_rewritten_through_mmap_is_pushed_by_rehash(rewritten: Path, jvs: Jvs) -> None:
    assert jvs.json("fs", "push", rewritten, "--rehash")["status"] == "advanced"
    jvs("fs", "pull", "main", "pulled").ok()
    assert trees.differences(trees.look(rewritten), trees.look(jvs.where / "pulled")) == []
