"""Delta Lake: a table's log read by deltalake, its files by pyarrow through the cache."""

from __future__ import annotations

import tempfile

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake
from pyarrow.fs import SubTreeFileSystem

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write two versions of a table, load its files, read the newest and the first."""
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        path = f"{directory}/table"
        write_deltalake(path, pa.table({"n": range(1000)}))
        write_deltalake(path, pa.table({"n": range(1000, 3000)}), mode="append")
        cluster.load(path)

        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        for version, rows in ((1, 3000), (0, 1000)):
            table = DeltaTable(path, version=version)
            files = [str(uri).removeprefix("file://") for uri in table.file_uris()]
            assert ds.dataset(files, filesystem=fs).count_rows() == rows
            # The same by deltalake itself, which wants paths relative to the table.
            if hasattr(table, "to_pyarrow_dataset"):
                assert table.to_pyarrow_dataset(filesystem=SubTreeFileSystem(path, fs)).to_table().num_rows == rows
            print(f"version {version}: {rows} rows")
        print(f"{fs.handler.stats().bytes_ufs} bytes from the under store")


if __name__ == "__main__":
    main()
