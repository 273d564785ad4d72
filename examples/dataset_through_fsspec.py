"""PyArrow, first road: a dataset through fsspec, as code written for alluxiofs does it."""

from __future__ import annotations

import tempfile

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Find the filesystem by its fsspec name, and give it to pyarrow."""
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(4):
            table = pa.table({"part": [part] * 25_000, "n": range(25_000)})
            pq.write_table(table, f"{directory}/{part}.parquet", row_group_size=5_000)
        cluster.load(directory)

        fs = fsspec.filesystem("alluxiofs", etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        found = ds.dataset(directory, filesystem=fs, format="parquet").to_table(filter=ds.field("n") < 10)
        print(f"{found.num_rows} rows of {len(fs.glob(directory + '/*.parquet'))} files")
        assert found.num_rows == 40
        print(f"{fs.handler.stats().bytes_ufs} bytes from the under store")


if __name__ == "__main__":
    main()
