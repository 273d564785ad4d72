"""A Parquet table through the cache: `pyarrow.parquet.read_table(filesystem=...)`, whole and projected.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a table's path in its under store; without one, an embedded
cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write a table, load it into the cache, read it back."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(pq.read_table(sys.argv[1], filesystem=alluxio_arrow.filesystem()).schema)
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        path = f"{directory}/table.parquet"
        table = pa.table({"id": range(100_000), "square": [number * number for number in range(100_000)]})
        pq.write_table(table, path, row_group_size=20_000)
        cluster.load(path)

        fs = cluster.filesystem()
        whole = pq.read_table(path, filesystem=fs)
        one_column = pq.read_table(path, columns=["square"], filesystem=fs)
        assert whole.equals(table)
        assert one_column.equals(table.select(["square"]))
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"{whole.num_rows} rows: {stats.pages_cache} page reads from the cache, {stats.ufs_reads} from the under store")


if __name__ == "__main__":
    main()
