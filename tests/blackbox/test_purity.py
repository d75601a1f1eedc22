"""One tree, one id: whatever the directory, the store, its settings, and the way the tree came to be."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.blackbox import trees
from tests.blackbox.conftest import Jvs
from tests.golden.test_golden import BYTES, CA_ID
from tests.golden.tree import write_tree

SETTINGS = {
    "default": [],
    "small chunks, nothing inline": ["--zstd-level", "5", "--chunk", "64K:128K:512K", "--inline", "0"],
    "large chunks, little inline": ["--zstd-level", "3", "--chunk", "1M:4M:16M", "--inline", "1000"],
    "much inline": ["--zstd-level", "2", "--chunk", "256K:1M:4M", "--inline", "262144"],
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_golden_tree_has_its_published_id(settings: str, jvs: Jvs) -> None:
    """The same from two directories of one store, and by what `fs diff` says that a push would give."""
    jvs("fs", "init", *SETTINGS[settings]).ok()
    for name in ("one", "another place"):
        golden(jvs.where / name)
    pushed = jvs.json("fs", "push", "one", "--label", "main")
    assert (pushed["ca_id"], pushed["stats"]["bytes"]) == (CA_ID, BYTES)
    assert jvs.json("fs", "diff", "main", "another place")["to"] == CA_ID
    again = jvs.json("fs", "push", "another place", "--label", "main", "--expected", "main")
    assert (again["ca_id"], again["status"], again["stats"]["objects"]) == (CA_ID, "unchanged", 0)


def test_the_golden_id_is_that_of_the_second_implementation(jvs: Jvs) -> None:
    golden(jvs.where / "one")
    assert trees.identity(trees.look(jvs.where / "one", "blake3")) == CA_ID


def golden(where: Path) -> None:
    """The golden tree in a new directory."""
    where.mkdir()
    write_tree(where)


# histories that end with the golden tree in `d`


def in_pieces(jvs: Jvs) -> None:
    """A directory at a time, the last one first, many files in four steps of which the last are the first in order."""
    golden(jvs.where / "whole")
    (jvs.where / "d").mkdir()
    for name in sorted(os.listdir(jvs.where / "whole"), reverse=True):
        if name != "many":
            shutil.move(jvs.where / "whole" / name, jvs.where / "d" / name)
            jvs("fs", "push", "d", "--label", "main").ok()
    (jvs.where / "d" / "many").mkdir()
    (jvs.where / "d" / "many").chmod(0o755)
    names = sorted(os.listdir(jvs.where / "whole" / "many"), reverse=True)
    for start in range(0, len(names), 400):  # above 256 names from one push to the next
        for name in names[start : start + 400]:
            shutil.move(jvs.where / "whole" / "many" / name, jvs.where / "d" / "many" / name)
        jvs("fs", "push", "d", "--label", "main").ok()


def out_of_something_else(jvs: Jvs) -> None:
    """Other content, modes and kinds at its paths before; three times as many files; pages that had to be merged."""
    golden(jvs.where / "d")
    top = jvs.where / "d"
    rng = random.Random(3)
    for count in range(1_500, 6_000):
        trees.write(top / "many" / f"{count:06}.txt.more", b"too many")
    for path in (top / "modes").iterdir():
        path.chmod(0o700)
    for path in (top / "sizes").iterdir():
        data = path.read_bytes()
        path.write_bytes(rng.randbytes(1024) + data if rng.random() < 0.5 else data[: rng.randrange(len(data))])
    (top / "bin" / "run").unlink()
    (top / "bin" / "run").mkdir()
    (top / "empty").unlink()
    (top / "empty").symlink_to("README")
    shutil.rmtree(top / "deep")
    trees.write(top / "deep", b"a file")
    jvs("fs", "push", "d", "--label", "main").ok()
    replace_by_golden(jvs)


def back_and_forth(jvs: Jvs) -> None:
    """Pushed, changed everywhere, pushed, rolled back by a pull, and changed and changed back by hand."""
    golden(jvs.where / "d")
    top = jvs.where / "d"
    jvs("fs", "push", "d", "--label", "main").ok()
    for number in range(0, 1_500, 7):
        (top / "many" / f"{number:06}.txt").write_text("changed\n")
    shutil.rmtree(top / "names")
    (top / "sizes").rename(top / "renamed")
    jvs("fs", "push", "d").ok()
    jvs("fs", "pull", "main@1", "d").ok()
    jvs("fs", "push", "d", "--force", "--always").ok()
    (top / "many" / "000700.txt").unlink()
    jvs("fs", "push", "d").ok()
    trees.write(top / "many" / "000700.txt", b"number 700\n")


def without_memory(jvs: Jvs) -> None:
    """What is derived is deleted between two pushes: neither stat index nor binding is there."""
    golden(jvs.where / "d")
    (jvs.where / "d" / "many" / "000003.txt").write_text("changed\n")
    jvs("fs", "push", "d", "--label", "main").ok()
    shutil.rmtree(jvs.where / ".jvs" / "cache")
    (jvs.where / "d" / "many" / "000003.txt").write_text("number 3\n")


def by_fs_rm(jvs: Jvs) -> None:
    """A file, a directory and many files too many, taken out of the label's tree and then pulled."""
    golden(jvs.where / "d")
    (jvs.where / "d" / "extra").mkdir()
    trees.write(jvs.where / "d" / "extra" / "file", b"1")
    trees.write(jvs.where / "d" / "many" / "000500.txt+", b"in the middle")
    jvs("fs", "push", "d", "--label", "main").ok()
    jvs("fs", "rm", "main:extra").ok()
    assert jvs.json("fs", "rm", "main:many/000500.txt+")["ca_id"] == CA_ID
    jvs("fs", "pull", "main", "d").ok()


def through_another_store(jvs: Jvs) -> None:
    """Pulled out of a store with other settings."""
    golden(jvs.where / "first")
    jvs("fs", "init", "other", *SETTINGS["small chunks, nothing inline"]).ok()
    jvs("--store", "other", "fs", "push", "first", "--label", "main").ok()
    jvs("--store", "other", "fs", "pull", "main", "d").ok()


def replace_by_golden(jvs: Jvs) -> None:
    """Make `d` the golden tree by changes in place, as a person would with rsync: what is alike keeps its inode."""
    wanted = jvs.where / "wanted"
    golden(wanted)
    here, there = trees.look(jvs.where / "d"), trees.look(wanted)
    for path in sorted(here, reverse=True):
        at = os.fsencode(jvs.where / "d") + b"/" + path
        if path not in there or here[path].kind != there[path].kind:
            os.rmdir(at) if here[path].kind == "directory" else os.unlink(at)
    for path, node in sorted(there.items()):
        at, source = os.fsencode(jvs.where / "d") + b"/" + path, os.fsencode(wanted) + b"/" + path
        if node.kind == "directory":
            os.makedirs(at, exist_ok=True)
            os.chmod(at, node.mode)
        elif here.get(path) != node:
            shutil.copyfile(source, at, follow_symlinks=False)
            if node.kind == "file":
                os.chmod(at, node.mode)


HISTORIES: list[Callable[[Jvs], None]] = [
    in_pieces,
    out_of_something_else,
    back_and_forth,
    without_memory,
    by_fs_rm,
    through_another_store,
]


@pytest.mark.parametrize(
    ("history", "settings"),
    [(history, list(SETTINGS)[number % len(SETTINGS)]) for number, history in enumerate(HISTORIES)],
    ids=[history.__name__ for history in HISTORIES],
)
def test_the_history_does_not_show_in_the_id(history: Callable[[Jvs], None], settings: str, jvs: Jvs) -> None:
    jvs("fs", "init", *SETTINGS[settings]).ok()
    history(jvs)
    assert trees.identity(trees.look(jvs.where / "d", "blake3")) == CA_ID  # else the test is wrong
    value = jvs.json("fs", "push", "d", "--label", "main", "--force")
    assert value["ca_id"] == CA_ID
    assert jvs.json("fs", "verify", "main")["ok"]
    jvs("fs", "pull", "main", "again").ok()
    assert trees.differences(trees.look(jvs.where / "d"), trees.look(jvs.where / "again")) == []


def test_what_is_not_versioned_does_not_show_in_the_id(jvs: Jvs) -> None:
    """Times, owners, hard links, holes, the mode of the root, the order in which names were made."""
    jvs("fs", "init").ok()
    golden(jvs.where / "plain")
    top = jvs.where / "d"
    top.mkdir()
    top.chmod(0o700)
    for path, node in sorted(trees.look(jvs.where / "plain").items(), reverse=True):
        if node.kind == "directory":
            continue
        at = os.fsencode(top) + b"/" + path
        os.makedirs(os.path.dirname(at), exist_ok=True)
        shutil.copyfile(os.fsencode(jvs.where / "plain") + b"/" + path, at, follow_symlinks=False)
        if node.kind == "file":
            os.chmod(at, node.mode)
            os.utime(at, (1, 1))
    for path, node in trees.look(jvs.where / "plain").items():
        if node.kind == "directory":
            os.makedirs(os.fsencode(top) + b"/" + path, exist_ok=True)
            os.chmod(os.fsencode(top) + b"/" + path, node.mode)
    os.truncate(top / "sizes" / "zeros", 0)
    os.truncate(top / "sizes" / "zeros", 3_000_000)
    (top / "names" / "~ ").unlink()
    trees.write(jvs.where / "elsewhere", b"named ~ ")
    os.link(jvs.where / "elsewhere", top / "names" / "~ ")
    if os.geteuid() == 0:
        os.chown(top / "README", 4242, 4242)
    assert jvs.json("fs", "push", "d", "--label", "main")["ca_id"] == CA_ID


def test_a_directory_of_pages_of_pages_has_the_id_of_the_second_implementation(jvs: Jvs) -> None:
    """40,000 names: two levels of index pages; then one more and one less, so that pages are edited."""
    with trees.room(jvs.where, 0.5) as where:
        jvs.where = where
        trees.make_many(where / "d", 40_000, b"")
        jvs("fs", "init").ok()
        for step in range(4):
            if step == 1:
                trees.write(where / "d" / "file0020000+", b"in the middle")
            elif step == 2:
                (where / "d" / "file0000000").unlink()
            elif step == 3:
                (where / "d" / "file0039999").rename(where / "d" / "a new first one")
            value = jvs.json("fs", "push", "d", "--label", "main")
            assert value["ca_id"] == trees.identity(trees.look(where / "d", "blake3"))
