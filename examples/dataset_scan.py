"""A Hive-partitioned dataset, filtered and projected, of which only one partition is cached.

Workers cannot be asked about names with ``=``; the under store answers for those, and cached pages are found by the file's id.
With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a dataset's path in its under store; without one, an embedded
cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write a partitioned table, load one partition, scan two."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(ds.dataset(sys.argv[1], filesystem=alluxio_arrow.filesystem(), partitioning="hive").head(5))
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        root = f"{directory}/sales"
        table = pa.table({"day": [index % 3 for index in range(30_000)], "amount": range(30_000)})
        hive = ds.partitioning(pa.schema([("day", pa.int64())]), flavor="hive")
        ds.write_dataset(table, root, format="parquet", partitioning=hive)
        cluster.load(f"{root}/day=0")

        fs = cluster.filesystem()
        sales = ds.dataset(root, filesystem=fs, partitioning=hive)
        found = sales.to_table(columns=["amount"], filter=(pc.field("day") < 2) & (pc.field("amount") > 1000))
        assert found.num_rows == 20_000 - 668
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"{found.num_rows} rows: {stats.bytes_cache} bytes from the cache, {stats.bytes_ufs} from the under store")


if __name__ == "__main__":
    main()
