"""The libraries that people read and write with, given `jvs://` (docs/fsspec.md has these ways as recipes)."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from jvs.workspace.fsspec.filesystem import JvsFileSystem
from jvs.workspace.repo import Repo


def library(name: str) -> Any:
    """An optional library, or a skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how they import one another is theirs
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            pytest.skip(f"needs {name}: pip install 'jvs-fs[integrations]'")


pytestmark = [
    # these libraries warn of one another's old ways
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def fs(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[JvsFileSystem]:
    """The file system that libraries find by URL in this thread."""
    monkeypatch.setenv("JVS_STORE", store)
    yield fsspec.filesystem("jvs")
    JvsFileSystem.clear_instance_cache()


@pytest.fixture
def frame() -> Any:
    return library("pandas").DataFrame({"a": range(5), "b": list("vwxyz")})


def generation(repo: Repo) -> int:
    return repo.labels.require("main").generation


def test_pandas(fs: JvsFileSystem, repo: Repo, frame: Any) -> None:
    pandas = library("pandas")
    library("pyarrow")
    frame.to_parquet("jvs://main/t.parquet")
    frame[:3].to_parquet("jvs://main/t.parquet")
    frame[:1].to_parquet("jvs://main/t.parquet")
    assert generation(repo) == 4
    assert pandas.read_parquet("jvs://main@{2}/t.parquet").equals(frame)
    assert pandas.read_parquet("jvs://main@{1}/t.parquet").equals(frame[:3])
    assert pandas.read_parquet("jvs://main@2/t.parquet").equals(frame)
    assert pandas.read_parquet(f"jvs://@{repo.labels.require('main').ca_id.hex()}/t.parquet").equals(frame[:1])
    for name in ("t.csv", "t.csv.gz", "new/dir/t.csv"):
        frame.to_csv(f"jvs://main/{name}", index=False)
        assert pandas.read_csv(f"jvs://main/{name}").equals(frame)
    with pytest.raises(FileNotFoundError):
        pandas.read_csv("jvs://nothing/t.csv")


def test_pandas_in_a_transaction(fs: JvsFileSystem, repo: Repo, frame: Any) -> None:
    pandas = library("pandas")
    with fs.transaction(message="two tables"):
        frame.to_csv("jvs://main/1.csv", index=False)
        frame.to_csv("jvs://main/2.csv", index=False)
        assert pandas.read_csv("jvs://main/1.csv").equals(frame)
        assert generation(repo) == 1
    assert generation(repo) == 2
    assert repo.labels.require("main").message == "two tables"


def test_pandas_partitioned(fs: JvsFileSystem, repo: Repo, frame: Any) -> None:
    pandas = library("pandas")
    library("pyarrow")
    with fs.transaction():
        frame.to_parquet("jvs://main/parts", partition_cols=["b"])
    assert generation(repo) == 2
    assert sorted(pandas.read_parquet("jvs://main/parts")["a"]) == list(range(5))
    assert fs.ls("main/parts", detail=False) == [f"main/parts/b={b}" for b in "vwxyz"]


def test_pyarrow_datasets(fs: JvsFileSystem, repo: Repo) -> None:
    pyarrow, dataset = library("pyarrow"), library("pyarrow.dataset")
    table = pyarrow.table({"a": list(range(100)), "b": [number % 4 for number in range(100)]})
    with fs.transaction(message="by b"):  # pyarrow's own threads write into it
        dataset.write_dataset(
            table, "main/set", filesystem=fs, format="parquet", partitioning=["b"], partitioning_flavor="hive"
        )
    assert generation(repo) == 2
    found = dataset.dataset("main/set", filesystem=fs, format="parquet", partitioning="hive")
    assert found.count_rows() == 100
    assert found.to_table(filter=dataset.field("b") == 1).num_rows == 25


def test_duckdb(fs: JvsFileSystem, repo: Repo, frame: Any) -> None:
    duckdb = library("duckdb")
    library("pyarrow")
    frame.to_parquet("jvs://main/t.parquet")
    frame[:2].to_parquet("jvs://main/t.parquet")
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        assert connection.sql("select sum(a) from 'jvs://main/t.parquet'").fetchall() == [(1,)]
        assert connection.sql("select sum(a) from 'jvs://main@{1}/t.parquet'").fetchall() == [(10,)]
        connection.sql("copy (select 42 as x) to 'jvs://main/made.parquet' (format parquet)")
        assert connection.sql("select x from 'jvs://main/ma*.parquet'").fetchall() == [(42,)]
    assert generation(repo) == 4


def test_datasets(fs: JvsFileSystem, repo: Repo, frame: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "datasets"]:
        monkeypatch.delitem(sys.modules, name)  # it reads HF_HOME when it is imported, and nobody else's import counts
    importlib.invalidate_caches()
    datasets = library("datasets")
    library("pyarrow")
    datasets.disable_progress_bars()

    def rows(url: str, **options: Any) -> int:
        options = {"cache_dir": str(tmp_path), **options}
        return len(list(datasets.load_dataset("parquet", data_files={"train": url}, split="train", **options)))

    frame.to_parquet("jvs://main/t.parquet")
    frame[:2].to_parquet("jvs://main/t.parquet")
    assert rows("jvs://main@2/t.parquet") == 5
    assert rows("jvs://main@3/t.parquet") == 2
    assert rows("jvs://main/*.parquet", streaming=True) == 2
    # what datasets has downloaded from a URL it does not look at again, unless it is told to
    assert rows("jvs://main/t.parquet") == 2
    frame[:1].to_parquet("jvs://main/t.parquet")
    assert rows("jvs://main/t.parquet", download_config=datasets.DownloadConfig(use_etag=True)) == 1
    with fs.transaction(message="a dataset"):
        datasets.Dataset.from_dict({"x": list(range(10))}).save_to_disk("jvs://main/saved")
    assert generation(repo) == 5
    assert len(datasets.load_from_disk("jvs://main/saved")) == 10


@pytest.mark.filterwarnings("ignore:UPath 'jvs' filesystem not explicitly implemented")
def test_upath(fs: JvsFileSystem, repo: Repo) -> None:
    path = library("upath").UPath
    here = path("jvs://main/up")
    here.mkdir()
    (here / "x.txt").write_text("hello")
    (here / "x.txt").rename(here / "y.txt")
    assert [str(one) for one in here.iterdir()] == ["jvs://main/up/y.txt"]
    assert [str(one) for one in path("jvs://main").glob("*/*.txt")] == ["jvs://main/up/y.txt"]
    assert (here / "y.txt").read_text() == path(f"jvs://main@{generation(repo)}/up/y.txt").read_text() == "hello"
    assert not path("jvs://main@{1}/up/y.txt").exists()
    (here / "y.txt").unlink()
    here.rmdir()
    assert not here.exists()


def test_zarr(fs: JvsFileSystem, repo: Repo) -> None:
    zarr, wrapper = library("zarr"), library("fsspec.implementations.asyn_wrapper")
    stores = library("zarr.storage")
    with fs.transaction(message="a grid"):
        there = wrapper.AsyncFileSystemWrapper(fs, asynchronous=True)
        group = zarr.open_group(stores.FsspecStore(there, path="main/grid.zarr"), mode="w")
        group.create_array("x", shape=(40, 4), chunks=(10, 4), dtype="i4")[:] = 3
    assert generation(repo) == 2
    assert zarr.open_group("jvs://main/grid.zarr", mode="r")["x"][5:15].sum() == 120
    with pytest.raises((FileNotFoundError, ValueError)):
        zarr.open_group("jvs://main@1/grid.zarr", mode="r")


def test_polars(fs: JvsFileSystem, repo: Repo) -> None:
    polars, dataset = library("polars"), library("pyarrow.dataset")
    with fs.open("main/p.parquet", "wb") as file:
        polars.DataFrame({"q": [1, 2, 3]}).write_parquet(file)
    with fs.open("main/p.parquet") as file:
        assert polars.read_parquet(file)["q"].sum() == 6
    lazy = polars.scan_pyarrow_dataset(dataset.dataset("main/p.parquet", filesystem=fs))
    assert lazy.filter(polars.col("q") > 1).collect()["q"].to_list() == [2, 3]
    with pytest.raises(FileNotFoundError):  # should this work one day, docs/fsspec.md says too little
        polars.read_parquet("jvs://main/p.parquet")


def test_dask(fs: JvsFileSystem, repo: Repo, frame: Any) -> None:
    dask = library("dask.dataframe")
    library("pyarrow")
    with fs.transaction():
        frame.to_parquet("jvs://main/d/1.parquet")
        frame.to_parquet("jvs://main/d/2.parquet")
    assert dask.read_parquet("jvs://main/d")["a"].sum().compute() == 20


def test_caches_of_fsspec_go_by_the_digest(fs: JvsFileSystem, tmp_path: Path) -> None:
    url = "filecache::jvs://main/a/one"
    options = {"filecache": {"cache_storage": str(tmp_path), "check_files": True}}
    for text in (b"one", b"another"):
        fs.pipe_file("main/a/one", text)
        with fsspec.open(url, **options) as file:
            assert file.read() == text
