"""The main job of jvs on real input, and a proof that it was done right: `make demo`.

Copies the standard library of the running Python (thousands of real files) into a temporary directory,
pushes it, edits it, pushes again, looks at the history and the difference, rolls the label back and pulls.
Each command is the real `jvs`, shown with what it prints.  Then both versions are compared with what was
pushed: names, kinds, modes, link targets and every byte, by a walk that has nothing to do with jvs.  Exit
status 1 where they differ.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

Tree = dict[str, tuple[str, int, str]]


def fingerprint(root: Path) -> Tree:
    """Everything below `root`: path -> kind, permission bits, and SHA-256 or link target."""
    found: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            status = path.lstat()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                value = ("symlink", 0, os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                value = ("directory", mode, "")
            elif not stat.S_ISREG(status.st_mode):
                value = ("special", mode, "")
            else:
                with path.open("rb") as file:
                    value = ("file", mode, hashlib.file_digest(file, "sha256").hexdigest())
            found[str(path.relative_to(root))] = value
    return found


def copy_standard_library(target: Path) -> None:
    """Copy the running Python's own library, without what was compiled from it or installed into it."""
    source = sysconfig.get_path("stdlib")
    left_out = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages")
    shutil.copytree(source, target, symlinks=True, ignore=left_out)


def edit(library: Path) -> None:
    """Change the copy as a person would: edit, append, add, delete, rename, chmod, link."""
    argparse = library / "argparse.py"
    argparse.write_text(argparse.read_text().replace("usage", "how to use it"))
    with (library / "this.py").open("a") as file:
        file.write("\n# One more line.\n")
    notes = library / "notes"
    notes.mkdir()
    (notes / "first.txt").write_text("A new file.\n")
    (notes / "random.bin").write_bytes(os.urandom(3 << 20))
    (notes / "this").symlink_to("../this.py")
    (library / "antigravity.py").unlink()
    shutil.rmtree(library / "wsgiref")
    (library / "heapq.py").rename(library / "priority_queue.py")
    (library / "shlex.py").chmod(0o755)


def jvs(where: Path, *arguments: str) -> None:
    """Show a jvs command, run it in `where` with its output shown, and how long it took; stop if it fails."""
    print("\n$ jvs", *(f"'{word}'" if " " in word else word for word in arguments), flush=True)
    command = Path(sys.executable).with_name("jvs")
    environment = {name: value for name, value in os.environ.items() if name != "JVS_STORE"}
    began = time.perf_counter()
    done = subprocess.run([command, *arguments], cwd=where, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"demo: jvs {arguments[1]} failed with exit status {done.returncode}")
    print(f"  ({time.perf_counter() - began:.2f} s)", flush=True)


def differences(expected: Tree, found: Tree) -> list[str]:
    """The paths at which two trees differ."""
    return sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))


def prove(what: str, expected: Tree, found: Tree) -> None:
    """Say that two trees are the same, or name where they differ and stop."""
    differing = differences(expected, found)
    if differing:
        sys.exit(f"demo: {what} differs at {len(differing)} paths, first {differing[0]!r}")
    print(f"{what}: {len(expected):,} paths, the same byte for byte")


def main() -> None:
    """See the head of this file."""
    with tempfile.TemporaryDirectory(prefix="jvs-demo-") as scratch:
        where = Path(scratch)
        library = where / "library"
        copy_standard_library(library)
        first = fingerprint(library)
        size = sum(path.lstat().st_size for path in library.rglob("*") if not path.is_dir())
        print(f"A copy of the standard library of Python: {len(first):,} paths, {size / 1e6:.0f} MB.")

        jvs(where, "fs", "init")
        jvs(where, "fs", "push", "library", "--label", "main", "-m", "as it came")

        edit(library)
        second = fingerprint(library)
        changed = len(differences(first, second))
        print(f"\nNow {changed} paths are edited, added, deleted, renamed, linked or made executable.")

        jvs(where, "fs", "push", "library", "-m", "my changes")
        jvs(where, "fs", "log", "main")
        jvs(where, "fs", "diff", "main@{1}", "main", "--stat")
        jvs(where, "fs", "reset", "main", "main@{1}", "-m", "back to how it came")
        jvs(where, "fs", "pull", "main", "library")
        jvs(where, "fs", "pull", "main@2", "edited")
        jvs(where, "fs", "log", "main")
        jvs(where, "fs", "verify", "--all")

        print("\nThe proof, by a walk that has nothing to do with jvs (names, kinds, modes, SHA-256):")
        prove("the edited tree, pulled as main@2", second, fingerprint(where / "edited"))
        prove("the tree rolled back in place", first, fingerprint(library))


if __name__ == "__main__":
    main()
