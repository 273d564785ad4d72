"""Delta Lake: a table's log read by deltalake, its files by pyarrow through the cache.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a table's path in its under store; without one, an embedded
cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake
from pyarrow.fs import SubTreeFileSystem

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write two versions of a table, load its files, read the newest and the first."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        fs = SubTreeFileSystem(sys.argv[1], alluxio_arrow.filesystem())
        print(DeltaTable(sys.argv[1]).to_pyarrow_dataset(filesystem=fs).head(5))
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        path = f"{directory}/table"
        write_deltalake(path, pa.table({"n": range(1000)}))
        write_deltalake(path, pa.table({"n": range(1000, 3000)}), mode="append")
        cluster.load(path)

        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        for version in (1, 0):
            table = DeltaTable(path, version=version)
            local = table.to_pyarrow_dataset()
            # deltalake asks for paths relative to the table.
            dataset = table.to_pyarrow_dataset(filesystem=SubTreeFileSystem(path, fs))
            assert dataset.to_table().sort_by("n").equals(local.to_table().sort_by("n"))
            found = dataset.to_table(filter=ds.field("n") < 10)
            assert found.equals(local.to_table(filter=ds.field("n") < 10))
            # Without deltalake's scan: its log says which files, pyarrow reads them.
            files = [str(uri).removeprefix("file://") for uri in table.file_uris()]
            assert ds.dataset(files, filesystem=fs).count_rows() == dataset.count_rows()
            print(f"version {version}: {dataset.count_rows()} rows")
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"{stats.pages_cache} page reads from the cache, {stats.bytes_ufs} bytes from the under store")


if __name__ == "__main__":
    main()
