"""The house: source roots, namespace, import contracts, folder READMEs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from devtools.check_wheel import PORTIONS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (*PORTIONS, "tests", "benchmarks", "docs")


def test_no_init_at_the_top_of_the_namespace() -> None:
    """A jvs/__init__.py in one portion would hide all the others."""
    assert not list(ROOT.glob("*/jvs/__init__.py"))


@pytest.mark.parametrize("portion", PORTIONS)
def test_portion_is_a_typed_package(portion: str) -> None:
    package = ROOT / portion / "jvs" / portion
    assert (package / "__init__.py").is_file()
    assert (package / "py.typed").is_file()


@pytest.mark.parametrize("portion", PORTIONS)
def test_a_source_root_holds_only_its_portion(portion: str) -> None:
    """Whatever else stood there would become a top-level name of the installation."""
    below = {path.name for path in (ROOT / portion).iterdir() if path.name != "__pycache__"}
    assert below == {"README.md", "jvs"}
    inside = {path.name for path in (ROOT / portion / "jvs").iterdir() if path.name != "__pycache__"}
    assert inside == ({"castore", "errors.py", "py.typed"} if portion == "castore" else {portion})


def test_the_tools_know_every_source_root() -> None:
    """A root missing from one of these lists is silently not packaged, not typed or not linted."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tool = config["tool"]
    assert set(tool["hatch"]["build"]["dev-mode-dirs"]) == set(PORTIONS)
    assert set(tool["hatch"]["build"]["targets"]["wheel"]["packages"]) == {f"{p}/jvs" for p in PORTIONS}
    mypy = tool["mypy"]
    for known in (mypy["mypy_path"], mypy["files"], tool["ruff"]["src"], tool["pytest"]["ini_options"]["pythonpath"]):
        assert set(PORTIONS) <= set(known)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_has_a_readme_at_its_door(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text()
    assert text.startswith("# ")
    assert len(text.split()) >= 30


def test_constraints_hold_exact_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!]+", line)]
    assert not wrong
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(set(names)) == len(names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = project["dependencies"] + [
        wanted for extra in ("dev", "bench") for wanted in project["optional-dependencies"][extra]
    ]
    for wanted in direct:
        name = re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", wanted)[0]).lower()
        assert name in names, f"{wanted}: no exact version in constraints.txt"


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over `checkout`, and over nothing else that is installed.

    -S: the editable installation's .pth file would join its own portions of the namespace to these.
    """
    roots = [str(checkout / portion) for portion in PORTIONS]
    command = "from importlinter.cli import lint_imports_command as c; c(['--no-cache', '--no-logo'])"
    return subprocess.run(
        [sys.executable, "-S", "-c", command],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*roots, sysconfig.get_path("purelib")])},
        capture_output=True,
        text=True,
        check=False,
    )


def small_checkout(where: Path) -> Path:
    """A checkout with the real configuration and empty packages."""
    for portion in PORTIONS:
        package = where / portion / "jvs" / portion
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
    (where / "castore/jvs/errors.py").write_text("")
    shutil.copy(ROOT / "pyproject.toml", where)
    return where


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("castore/jvs/castore/bad.py", "jvs.labels"),
        ("castore/jvs/errors.py", "jvs.castore"),
        ("labels/jvs/labels/bad.py", "jvs.merge"),
        ("labels/jvs/labels/bad.py", "jvs.workspace"),
        ("workspace/jvs/workspace/bad.py", "jvs.cli"),
        ("server/jvs/server/bad.py", "jvs.cli"),
        ("castore/jvs/castore/bad.py", "click"),
    ],
)
def test_an_import_that_goes_the_wrong_way_is_found(importer: str, imported: str, tmp_path: Path) -> None:
    """The contracts are looked at through namespace portions: prove that they see across them."""
    checkout = small_checkout(tmp_path)
    (checkout / importer).write_text(f"import {imported}\n")
    result = lint_imports(checkout)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
    assert imported in result.stdout


def test_imports_that_go_the_right_way_pass(tmp_path: Path) -> None:
    checkout = small_checkout(tmp_path)
    (checkout / "cli/jvs/cli/main.py").write_text("import click\nimport jvs.workspace\nimport jvs.errors\n")
    (checkout / "workspace/jvs/workspace/repo.py").write_text("import jvs.labels\nimport jvs.castore\n")
    result = lint_imports(checkout)
    assert result.returncode == 0, result.stdout + result.stderr
