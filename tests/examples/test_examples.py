"""Every example runs, and says what it promises; so does the demonstration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alluxio_arrow.testing import MiniCluster

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "hello_world": ["hello, world", "12 bytes came from the cache"],
    "parquet_table": ["100000 rows", "0 from the under store"],
    "dataset_scan": ["19332 rows"],
    "demo": ["600,572 rows", "equal to a plain local read: yes", "equal to a plain local scan: yes", "done"],
}


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example(name, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ALLUXIO_ARROW_")}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=200
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[name]:
        assert words in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_examples_read_a_cluster_of_ones_own(tmp_path):
    table = tmp_path / "sales" / "day=1" / "part.parquet"
    table.parent.mkdir(parents=True)
    pq.write_table(pa.table({"amount": [17, 23]}), table)
    with MiniCluster(tmp_path, workers=1) as cluster:
        cluster.load(str(table))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ALLUXIO_ARROW_")},
            "ALLUXIO_ARROW_ETCD_HOSTS": cluster.etcd_hosts,
            "ALLUXIO_ARROW_TARGET_PROTOCOL": "file",
        }
        asked = {
            "hello_world": (table, "PAR1"),
            "parquet_table": (table, "amount: int64"),
            "dataset_scan": (table.parents[1], "[17,23]"),
        }
        for name, (path, words) in asked.items():
            command = [sys.executable, EXAMPLES / f"{name}.py", path]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
            assert done.returncode == 0, done.stderr
            assert words in done.stdout
        assert cluster.stats()["pages"] > 0
