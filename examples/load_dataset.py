"""Load a dataset into the cache, watch it arrive, read it from there.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a directory of its under store; without one, an embedded
cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import pyarrow as pa
import pyarrow.dataset as ds

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Submit a load job, wait for it, scan the dataset."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(alluxio_arrow.AlluxioClient().load(sys.argv[1], progress=print))
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        root = f"{directory}/readings"
        ds.write_dataset(
            pa.table({"n": range(200_000)}), root, format="parquet", max_rows_per_file=20_000, max_rows_per_group=20_000
        )

        client = alluxio_arrow.AlluxioClient(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        done = client.load(root, timeout=60)
        print(f"{done.state.value}: {done.bytes_loaded} bytes of {done.files_processed} files and directories")

        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        assert ds.dataset(root, filesystem=fs).to_table().equals(ds.dataset(root).to_table())
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"scanned with {stats.pages_cache} page reads from the cache, {stats.bytes_ufs} bytes from the under store")


if __name__ == "__main__":
    main()
