"""Every example runs, and says what it promises; so does the demonstration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from alluxio_arrow.testing import MiniCluster

EXAMPLES = Path(__file__).parents[2] / "examples"
CACHED = ", 0 bytes from the under store"
SAYS = {
    "hello_world": ["hello, world", "12 bytes came from the cache"],
    "load_dataset": ["SUCCEEDED", CACHED],
    "parquet_table": ["100000 rows", ", 0 from the under store"],
    "dataset_scan": ["19332 rows"],
    "dataset_through_fsspec": ["40 rows of 4 files", CACHED],
    "arrow_filesystem": ["Parquet, CSV, JSON and IPC", ", 0 from the under store"],
    "connect_to_s3": [
        "cache, 0 bytes from S3",
        "lake/table.parquet'], the cold one from S3",
        "anonymous: equal, from the cache",
    ],
    "demo": ["600,572 rows", "equal to a plain local read: yes", "equal to a plain local scan: yes", "done"],
    "pandas_frames": ["100000 rows in four ways", ", 0 from the under store"],
    "polars_frames": ["lazy: 5 groups", "eager: 10000 rows", ", 0 from the under store"],
    "duckdb_queries": ["registered filesystem", ", 0 from the under store", "four threads", "over a dataset: 800000 rows"],
    "dask_frames": ["threads: 6 files", "processes: 6 files", "pages came from the workers"],
    "delta_table": ["version 1: 3000 rows", "version 0: 1000 rows", CACHED],
    "iceberg_table": ["100 of 50000 rows", "page reads from the cache"],
    "hugging_face_streaming": ["streamed 4000 rows", "pages came from the workers"],
    "pytorch_loader": ["fork: 4 processes", "spawn: 4 processes"],
    "ray_data": ["parquet: sum 4999950000", "csv: sum 4999950000"],
}
#: Installed by `make engines` only.
HEAVY = ("pytorch_loader", "ray_data")
#: What these engines and servers say on their own is theirs.
TALKATIVE = (*HEAVY, "dask_frames", "hugging_face_streaming", "iceberg_table", "connect_to_s3")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.engines if name in HEAVY else ())
        for name in sorted(path.stem for path in EXAMPLES.glob("*.py"))
    ],
)
def test_an_example(name, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ALLUXIO_ARROW_")}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=280
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[name]:
        assert words in done.stdout
    if name not in TALKATIVE:
        assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
    print(done.stdout)  # for `make engines`, which shows it


def test_examples_read_a_cluster_of_ones_own(tmp_path):
    table = tmp_path / "sales" / "day=1" / "part.parquet"
    table.parent.mkdir(parents=True)
    pq.write_table(pa.table({"amount": [17, 23]}), table)
    write_deltalake(tmp_path / "delta", pa.table({"amount": [17, 23]}))
    with MiniCluster(tmp_path, workers=1) as cluster:
        cluster.load(str(tmp_path))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ALLUXIO_ARROW_")},
            "ALLUXIO_ARROW_ETCD_HOSTS": cluster.etcd_hosts,
            "ALLUXIO_ARROW_TARGET_PROTOCOL": "file",
        }
        asked = {
            "hello_world": (table, "PAR1"),
            "parquet_table": (table, "amount: int64"),
            "dataset_scan": (table.parents[1], "[17,23]"),
            "dataset_through_fsspec": (table.parent, "[17,23]"),
            "arrow_filesystem": (table, "amount: int64"),
            "pandas_frames": (table, "23"),
            "polars_frames": (table.parents[1], "23"),
            "duckdb_queries": (table.parents[1] / "*" / "*.parquet", "23"),
            "dask_frames": (table, "23"),
            "delta_table": (tmp_path / "delta", "[17,23]"),
        }
        for name, (path, words) in asked.items():
            command = [sys.executable, EXAMPLES / f"{name}.py", path]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
            assert done.returncode == 0, done.stderr
            assert words in done.stdout
        assert cluster.stats()["pages"] > 0
