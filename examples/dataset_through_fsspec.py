"""PyArrow, first road: a dataset through fsspec, as code written for alluxiofs does it.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a dataset's path in its under store; without one, an embedded
cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Find the filesystem by its fsspec name, and give it to pyarrow."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(ds.dataset(sys.argv[1], filesystem=fsspec.filesystem("alluxiofs"), format="parquet").head(5))
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(4):
            table = pa.table({"part": [part] * 25_000, "n": range(25_000)})
            pq.write_table(table, f"{directory}/{part}.parquet", row_group_size=5_000)
        cluster.load(directory)

        fs = fsspec.filesystem("alluxiofs", etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        query = {"columns": ["part", "n"], "filter": ds.field("n") < 10}
        found = ds.dataset(directory, filesystem=fs, format="parquet").to_table(**query)
        assert found.equals(ds.dataset(directory, format="parquet").to_table(**query))
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"{found.num_rows} rows of {len(fs.glob(directory + '/*.parquet'))} files")
        print(f"{stats.pages_cache} page reads from the cache, {stats.bytes_ufs} bytes from the under store")


if __name__ == "__main__":
    main()
