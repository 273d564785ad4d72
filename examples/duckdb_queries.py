"""DuckDB: the filesystem registered under its name, with globs and threads; and SQL over a pyarrow dataset."""

from __future__ import annotations

import tempfile

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from alluxio_arrow import AlluxioFileSystem
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write eight files, load them, ask for their sum in two ways."""
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(8):
            table = pa.table({"part": [part] * 100_000, "n": range(part * 100_000, (part + 1) * 100_000)})
            pq.write_table(table, f"{directory}/{part}.parquet", row_group_size=20_000)
        cluster.load(directory)
        fs = AlluxioFileSystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")

        database = duckdb.connect(config={"threads": 4})
        database.register_filesystem(fs)
        query = f"select count(*), sum(n) from read_parquet('alluxio://{directory}/*.parquet') where part >= 4"
        assert database.sql(query).fetchall() == [(400_000, sum(range(400_000, 800_000)))]
        print(f"registered filesystem: {fs.handler.stats().bytes_ufs} bytes from the under store")

        numbers = ds.dataset(directory, filesystem=fs)
        assert database.sql("select max(n) from numbers where part = 7").fetchall() == [(799_999,)]
        print(f"over a dataset: {numbers.count_rows()} rows")


if __name__ == "__main__":
    main()
