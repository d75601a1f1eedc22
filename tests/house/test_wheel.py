"""What is built: a wheel and an sdist that hold what they must, and an installation that runs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from devtools.check_wheel import PORTIONS, faults

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("wheel")  # built once, not once in every worker
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DIST_INFO = f"jvs_fs-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new environment into which the wheel alone was installed.

    Its dependencies are those of the running interpreter, by a .pth file: the .pth files over there are not
    read for it, so the editable jvs is out of sight.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    subprocess.run([*pip, "-qq", "--no-deps", "--no-index", str(wheel)], check=True)
    where = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    Path(where, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_holds_what_it_must(wheel: Path) -> None:
    assert faults(wheel, ROOT) == []


def test_the_version_is_the_one_of_the_changelog(wheel: Path) -> None:
    assert wheel.name.startswith(f"jvs_fs-{VERSION}-")
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("removed", "added"),
    [
        ("jvs/castore/py.typed", None),
        ("jvs/py.typed", None),
        ("jvs/errors.py", None),
        ("jvs/castore/names.py", None),
        (f"{DIST_INFO}/entry_points.txt", None),
        (None, "jvs/__init__.py"),
        (None, "labels/__init__.py"),
        (None, "stray.py"),
    ],
)
def test_the_check_finds_a_fault(removed: str | None, added: str | None, wheel: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.whl"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(spoiled, "w") as target:
        assert removed is None or removed in source.namelist()
        for name in source.namelist():
            if name != removed:
                target.writestr(name, source.read(name))
        if added is not None:
            target.writestr(added, "")
    assert len(faults(spoiled, ROOT)) == 1


def test_the_sdist_holds_what_the_checks_need(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml", "tests/conftest.py"}
    assert wanted <= names
    assert not {name for name in names if name.startswith((".venv", "dist/", ".git/"))}


def test_an_installation_of_the_wheel_stands_alone(installed: Path) -> None:
    """Every module of the wheel is there, and none of them comes from this checkout."""
    modules = [f"jvs.{portion}" for portion in PORTIONS] + ["jvs.errors"]
    script = f"import importlib\nfor m in {modules!r}: print(importlib.import_module(m).__file__)"
    found = subprocess.run(
        [installed, "-I", "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(found) == len(modules)
    assert all(Path(path).is_relative_to(installed.parents[1]) for path in found)


def test_the_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    """As pipx and `uv tool` install it: a new environment, its `jvs` called from anywhere."""
    jvs = installed.with_name("jvs")
    version = subprocess.run([jvs, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert version.stdout == f"jvs {VERSION}\n"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("content\n")
    for arguments in (["fs", "init"], ["fs", "push", "data", "--label", "main"], ["fs", "verify"]):
        subprocess.run([jvs, *arguments], cwd=tmp_path, check=True, capture_output=True)
    shown = subprocess.run([jvs, "fs", "cat", "main:file"], cwd=tmp_path, check=True, capture_output=True)
    assert shown.stdout == b"content\n"


def test_users_of_the_library_see_its_types(installed: Path, tmp_path: Path) -> None:
    """Without a py.typed in reach mypy would take every jvs module for untyped, and say so."""
    (tmp_path / "user.py").write_text("import jvs.castore\nimport jvs.errors\nimport jvs.labels\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed), "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "import-untyped" not in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
