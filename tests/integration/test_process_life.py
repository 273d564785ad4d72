"""Programs that use the filesystem begin, fork and end cleanly."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alluxio_arrow.testing import MiniCluster

ABANDONED_SCAN = """
import sys
import pyarrow.dataset as ds
import alluxio_arrow
fs = alluxio_arrow.filesystem(sys.argv[1], target_protocol="file")
batch = next(iter(ds.dataset(sys.argv[2], filesystem=fs).to_batches()))
print(batch.num_rows > 0)
"""

POOL = """
import multiprocessing, sys
import pyarrow.parquet as pq
import alluxio_arrow
def rows(path):
    return pq.read_table(path, filesystem=fs, use_threads=False).num_rows
def rows_with(arguments):
    return pq.read_table(arguments[1], filesystem=arguments[0], use_threads=False).num_rows
if __name__ == "__main__":
    fs = alluxio_arrow.filesystem(sys.argv[1], target_protocol="file")
    path = sys.argv[2] + "/0.parquet"
    assert fs.get_file_info(path).is_file  # the parent has used ETCD and workers before its children begin
    with multiprocessing.get_context(sys.argv[3]).Pool(2) as pool:
        print(sum(pool.map(rows_with, [(fs, path)] * 4)))
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("life")
    table = pa.table({f"c{index}": pa.array(memoryview(os.urandom(8 * 250_000)).cast("q")) for index in range(4)})
    for index in range(3):
        pq.write_table(table, root / f"{index}.parquet", compression="none", use_dictionary=False, row_group_size=50_000)
    with MiniCluster(root) as cluster:
        cluster.root = root
        cluster.load(str(root))
        yield cluster


def run(script, *arguments):
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("attempt", range(4))
def test_a_program_that_ends_within_a_scan(tables, attempt):
    """Arrow still has reads in flight on its own threads when the interpreter ends."""
    done = run(ABANDONED_SCAN, tables.etcd_hosts, str(tables.root))
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_processes(tables, method, tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    command = [sys.executable, script, tables.etcd_hosts, str(tables.root), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "1000000\n"), done.stderr


def test_nothing_is_left_behind(tables, tmp_path):
    before = set(tmp_path.iterdir())
    script = "import sys, alluxio_arrow; print(alluxio_arrow.filesystem(sys.argv[1], target_protocol='file').get_file_info(sys.argv[2]).size)"
    command = [sys.executable, "-c", script, tables.etcd_hosts, str(tables.root / "0.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert int(done.stdout) > 8_000_000
    assert done.stderr == ""
    assert set(tmp_path.iterdir()) == before


def test_a_cluster_leaves_nothing_behind(tmp_path):
    from pathlib import Path

    with MiniCluster(tmp_path) as cluster:
        pids = [cluster.etcd.pid, *(worker.pid for worker in cluster.workers)]
        directories = [Path(cluster._directory.name), Path(cluster.etcd._directory.name)]
        assert all(path.exists() for path in directories)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not any(path.exists() for path in directories)
