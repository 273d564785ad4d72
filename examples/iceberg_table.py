"""PyIceberg: a `FileIO` named in the catalog's properties; the table's data and metadata are read through the cache."""

from __future__ import annotations

import tempfile
import warnings

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write a table with PyIceberg's own file access, load it, read it through ours."""
    warnings.simplefilter("ignore")  # PyIceberg's own
    rows = pa.table({"id": pa.array(range(50_000), pa.int64()), "name": [f"name {index}" for index in range(50_000)]})
    with tempfile.TemporaryDirectory() as state, tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        where = {"uri": f"sqlite:///{state}/catalog.db", "warehouse": f"file://{directory}"}
        plain = SqlCatalog("demo", **where)
        plain.create_namespace("db")
        plain.create_table("db.people", schema=rows.schema).append(rows)
        cluster.load(directory)

        cached = SqlCatalog(
            "demo",
            **where,
            **{
                "py-io-impl": "alluxio_arrow.pyiceberg.AlluxioFileIO",
                "alluxio-arrow.etcd-hosts": cluster.etcd_hosts,
                "alluxio-arrow.target-protocol": "file",
            },
        )
        table = cached.load_table("db.people")
        found = table.scan(row_filter="id < 100", selected_fields=("name",)).to_arrow()
        assert found.to_pylist() == [{"name": f"name {index}"} for index in range(100)]
        assert table.scan().to_arrow().sort_by("id").equals(plain.load_table("db.people").scan().to_arrow().sort_by("id"))
        # Written through it, too: to the under store, and read true afterwards.
        table.append(rows.slice(0, 10))
        assert table.scan().to_arrow().num_rows == 50_010
        stats = table.io.fs_by_scheme("file", "").handler.stats()
        assert stats.pages_cache > 0
        print(f"{found.num_rows} of 50000 rows by a filter; {stats.pages_cache} page reads from the cache")


if __name__ == "__main__":
    main()
