"""PyArrow, second road: a `PyFileSystem` over the handler, for Parquet, CSV, JSON and IPC, reading and writing.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a Parquet table's path in its under store; without one, an
embedded cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.json
import pyarrow.parquet as pq
from pyarrow.fs import PyFileSystem

from alluxio_arrow import AlluxioHandler
from alluxio_arrow.config import make_settings
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write one table in every format, load all of them, and read them back through the cache."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(pq.read_table(sys.argv[1], filesystem=PyFileSystem(AlluxioHandler(make_settings()))).schema)
        return
    table = pa.table({"id": range(50_000), "name": [f"name {index}" for index in range(50_000)]})
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        handler = AlluxioHandler(make_settings(cluster.etcd_hosts, target_protocol="file"))
        writer = PyFileSystem(handler)
        ds.write_dataset(
            table,
            f"{directory}/parquet",
            filesystem=writer,
            format="parquet",
            max_rows_per_file=10_000,
            max_rows_per_group=10_000,
        )
        ds.write_dataset(table, f"{directory}/ipc", filesystem=writer, format="feather")
        with writer.open_output_stream(f"{directory}/table.csv") as stream:
            pyarrow.csv.write_csv(table, stream)
        with writer.open_output_stream(f"{directory}/lines.json") as stream:
            stream.write("\n".join(f'{{"id": {index}}}' for index in range(1000)).encode())
        cluster.load(directory)

        fs = PyFileSystem(AlluxioHandler(make_settings(cluster.etcd_hosts, target_protocol="file")))
        assert pq.ParquetDataset(f"{directory}/parquet", filesystem=fs).read().equals(table)
        assert pq.read_table(f"{directory}/parquet", filesystem=fs, columns=["id"]).equals(table.select(["id"]))
        for kind, name in (("parquet", "parquet"), ("feather", "ipc"), ("csv", "table.csv"), ("json", "lines.json")):
            query = {"columns": ["id"], "filter": ds.field("id") >= 900}
            found = ds.dataset(f"{directory}/{name}", filesystem=fs, format=kind).to_table(**query)
            assert found.equals(ds.dataset(f"{directory}/{name}", format=kind).to_table(**query))
        with fs.open_input_stream(f"{directory}/table.csv") as stream:
            assert pyarrow.csv.read_csv(stream).equals(table)
        with fs.open_input_stream(f"{directory}/lines.json") as stream:
            assert pyarrow.json.read_json(stream).num_rows == 1000
        with fs.open_input_file(f"{directory}/ipc/part-0.feather") as file:
            assert pa.ipc.open_file(file).read_all().equals(table)
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"Parquet, CSV, JSON and IPC: {stats.bytes_cache} bytes from the cache, {stats.bytes_ufs} from the under store")


if __name__ == "__main__":
    main()
