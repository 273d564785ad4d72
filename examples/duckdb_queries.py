"""DuckDB: the filesystem registered under its name, with globs and threads; and SQL over a pyarrow dataset.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a Parquet file's or a glob's path in its under store;
without one, an embedded cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from alluxio_arrow import AlluxioFileSystem
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write eight files, load them, ask for their sum in two ways."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        database = duckdb.connect(config={"threads": 4})
        database.register_filesystem(AlluxioFileSystem())
        print(database.execute("select * from read_parquet(?) limit 5", [f"alluxio://{sys.argv[1]}"]).fetchall())
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(8):
            table = pa.table({"part": [part] * 100_000, "n": range(part * 100_000, (part + 1) * 100_000)})
            pq.write_table(table, f"{directory}/{part}.parquet", row_group_size=20_000)
        cluster.load(directory)
        fs = AlluxioFileSystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")

        database = duckdb.connect(config={"threads": 4})
        database.register_filesystem(fs)
        query = "select part, count(*), sum(n) from read_parquet('{}/*.parquet') where part >= 4 group by part order by part"
        local = duckdb.sql(query.format(directory)).fetchall()
        assert database.sql(query.format(f"alluxio://{directory}")).fetchall() == local
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"registered filesystem: {stats.bytes_cache} bytes from the cache, {stats.bytes_ufs} from the under store")

        # Several of Python's threads, each with a cursor, over DuckDB's own threads.
        with ThreadPoolExecutor(4) as threads:
            answers = threads.map(lambda _: database.cursor().sql(query.format(f"alluxio://{directory}")).fetchall(), range(8))
            assert list(answers) == [local] * 8
        print("the same in four threads")

        before = fs.handler.stats()
        numbers = ds.dataset(directory, filesystem=fs)
        assert database.sql("select max(n) from numbers where part = 7").fetchall() == [(799_999,)]
        assert fs.handler.stats().pages_cache > before.pages_cache
        print(f"over a dataset: {numbers.count_rows()} rows")


if __name__ == "__main__":
    main()
