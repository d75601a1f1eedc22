"""Check a built wheel: nothing at its top but `jvs`, every package in it, typed, with its command.

    python devtools/check_wheel.py dist/jvs_fs-0.1.0-py3-none-any.whl

Also used by tests/house/test_wheel.py.  Bare top-level names such as `labels` or `cli` would be written over
users' own modules when installed, without a word from pip; that is the fault looked for first.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PORTIONS = ("castore", "labels", "overlay", "merge", "workspace", "server", "cli")


def source_modules(root: Path) -> set[str]:
    """Every file below the source roots of `root` that a wheel must hold, as paths in the wheel."""
    return {
        path.relative_to(root / portion).as_posix()
        for portion in PORTIONS
        for path in (root / portion / "jvs").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def faults(wheel: Path, root: Path) -> list[str]:
    """What is wrong with `wheel`, built from the checkout `root`: one line each, empty when all is well."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        entry_points = next((archive.read(n).decode() for n in names if n.endswith("entry_points.txt")), "")
    found = []
    tops = {name.split("/")[0] for name in names}
    dist_info = {top for top in tops if top.endswith(".dist-info")}
    found += [f"top-level name {top!r}, not 'jvs'" for top in sorted(tops - dist_info - {"jvs"})]
    if len(dist_info) != 1:
        found.append(f"one .dist-info expected, found {sorted(dist_info)}")
    if "jvs/__init__.py" in names:
        found.append("jvs/__init__.py: jvs is a namespace, its portions stand beside one another")
    typed = {"jvs/py.typed"} | {f"jvs/{portion}/py.typed" for portion in PORTIONS}
    wanted = source_modules(root) | typed | {f"jvs/{portion}/__init__.py" for portion in PORTIONS}
    found += [f"{name}: missing" for name in sorted(wanted - names)]
    if "jvs = jvs.cli.main:main" not in entry_points:
        found.append("the command `jvs` is missing from the entry points")
    return found


def main(arguments: list[str]) -> int:
    """Print each fault of each wheel named; 1 if there is any."""
    if not arguments:
        print("usage: python devtools/check_wheel.py WHEEL...", file=sys.stderr)
        return 2
    root = Path(__file__).resolve().parent.parent
    status = 0
    for argument in arguments:
        found = faults(Path(argument), root)
        for fault in found:
            print(f"{argument}: {fault}", file=sys.stderr)
        print(f"{argument}: {'ok' if not found else f'{len(found)} faults'}")
        status |= bool(found)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
