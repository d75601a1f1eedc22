"""CPython's own tests of files, in a session's mount: each ends as it does in a plain directory, but for those that are
listed here with the reason.

A test that leaves itself out, because the mount lacks something, ended otherwise as well; and one that is listed and
ends the same has no business in the list. So nothing is left out unseen.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.blackbox.conftest import Jvs, be_ordinary
from tests.overlay.fuse.support import needs_fuse, session

RUNNER = Path(__file__).with_name("cpython_suites.py")
ASKED = ["test_os", "test_shutil", "test_pathlib", "test_tempfile"]
MORE = (
    "test_posix test_posixpath test_genericpath test_stat test_glob test_filecmp test_fileinput test_file test_fileio "
    "test_bufio test_largefile test_mmap test_mailbox test_dbm_dumb test_shelve test_linecache test_py_compile "
    "test_compileall test_zipapp test_zipfile test_tarfile"
).split()
PATIENCE = 1700
LONG = [pytest.mark.torture, pytest.mark.timeout(1800)]
EPERM = "[Errno 1] Operation not permitted"


class Lacking(NamedTuple):
    """Tests that end otherwise. why; said: part of what each of them says."""

    why: str
    said: str
    tests: tuple[str, ...]


LISTED = (
    Lacking(
        "there are no hard links (EPERM): a snapshot is a tree",
        EPERM,
        (
            "test_os.LinkTests.*",
            "test_os.TestScandir.test_attributes",
            "test_shutil.TestCopy.test_dont_copy_file_onto_link_to_itself",
            "test_pathlib.*.test_hardlink_to",
            "test_pathlib.*.test_link_to",
            "test_posix.TestPosixDirFd.test_link_dir_fd",
            "test_*path.*.test_samefile_on_link",
            "test_*path.*.test_samestat_on_link",
            "test_tarfile.HardlinkTest.*",
            "test_tarfile.*WriteTest.test_link_size",
        ),
    ),
    Lacking(
        "the same: `compileall --hardlink-dupes`",
        "",  # often only that the second file is not there
        (
            "test_compileall.*.test_hardlink",
            "test_compileall.HardlinkDedupTests*.test_only_two_levels",
            "test_compileall.HardlinkDedupTests*.test_duplicated_levels",
            "test_compileall.HardlinkDedupTests*.test_recompilation",
            "test_compileall.HardlinkDedupTests*.test_import",
        ),
    ),
    Lacking(
        "there are no pipes and sockets (EPERM): a snapshot holds files, directories and links",
        EPERM,
        (
            "test_os.*WalkTests.test_walk_named_pipe*",
            "test_os.*FwalkTests.test_walk_named_pipe*",
            "test_shutil.*named_pipe",
            "test_pathlib.*.test_is_fifo_true",
            "test_pathlib.*.test_is_socket_true",
            "test_posix.PosixTester.test_mkfifo",
            "test_posix.TestPosixDirFd.test_mkfifo_dir_fd",
            "test_stat.*.test_fifo",
            "test_stat.*.test_socket",
            "test_tarfile.TestExtractionFilters.test_pipe",
        ),
    ),
    Lacking(
        "there are no extended attributes (ENOTSUP): a snapshot has none",
        "extended attribute",
        ("test_os.ExtendedAttributeTests.*", "test_shutil.TestCopy.test_copy*xattr*"),
    ),
    Lacking(
        "owners are not versioned: everything belongs to who mounted it, and root's chown changes nothing",
        "0 != ",
        (
            "test_os.ChownFileTests.test_chown_with_root",
            "test_pathlib.*.test_owner_no_follow_symlinks",
            "test_pathlib.*.test_group_no_follow_symlinks",
            "test_posix.PosixTester.test_*chown",
        ),
    ),
)

pytestmark = [
    needs_fuse,
    pytest.mark.skipif(
        importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_os") is None,
        reason="this Python came without CPython's own tests (Debian: libpython3-testsuite)",
    ),
]
Outcomes = dict[str, list[str]]


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A plain directory, and one on a mount."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "tree").mkdir()
    with session(tmp_path, tmp_path / "tree") as mounted:
        yield tmp_path / "plain", mounted


def outcomes(
    places: tuple[Path, Path], environment: dict[str, str], suites: list[str], ordinary: bool
) -> list[Outcomes]:
    """How each test ends in each of the places, where they run at the same time."""
    running = [
        subprocess.Popen(
            [sys.executable, RUNNER, place.parent / f"{place.name}.json", *suites],
            cwd=place,
            env=environment | {"TMPDIR": str(place)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=be_ordinary if ordinary else None,
        )
        for place in places
    ]
    try:
        assert [process.wait(PATIENCE) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    return [json.loads((place.parent / f"{place.name}.json").read_text()) for place in places]


def reasons(name: str) -> list[Lacking]:
    """Why a test may end otherwise; the name is without `test.`, and without the package that some suites are."""
    parts = name.split(".")
    short = ".".join([parts[0], *parts[-2:]])
    return [lacking for lacking in LISTED if any(fnmatchcase(short, pattern) for pattern in lacking.tests)]


def check(plain: Outcomes, mounted: Outcomes) -> None:
    """Compare the two."""
    tried = [name for name, (outcome, _) in plain.items() if outcome != "skipped"]
    good = [name for name in tried if plain[name][0] == "ok"]
    assert len(good) >= max(20, 0.95 * len(tried)), {name: plain[name] for name in tried if name not in good}
    assert plain.keys() == mounted.keys()
    wrong, listed_in_vain = {}, []
    for name in good:
        outcome, said = mounted[name]
        found = reasons(name.removeprefix("test."))
        if outcome == "ok":
            listed_in_vain += [name] if found else []
        elif not any(lacking.said in said for lacking in found):
            wrong[name] = (outcome, said)
    assert wrong == {}
    assert listed_in_vain == []


@pytest.mark.parametrize(
    ("suites", "ordinary"),
    [
        pytest.param(ASKED, False, id="asked"),
        pytest.param(ASKED, True, id="asked-ordinary", marks=LONG),
        pytest.param(MORE, False, id="more", marks=LONG),
        pytest.param(MORE, True, id="more-ordinary", marks=LONG),
    ],
)
def test_they_end_as_in_a_plain_directory(
    jvs: Jvs, places: tuple[Path, Path], suites: list[str], ordinary: bool
) -> None:
    """ordinary: without root's right to do what permission bits forbid."""
    environment = {name: value for name, value in jvs.environment.items() if not name.startswith("PYTHON")}
    plain, mounted = outcomes(places, environment, suites, ordinary)
    check(plain, mounted)
    assert os.listdir(places[1]) == []
    logs = list((places[1].parent / "store/mounts").glob("*.log"))
    assert [log.read_text() for log in logs] == []  # nothing that the server did not expect
