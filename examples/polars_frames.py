"""Polars: lazy scans of a pyarrow dataset, and `read_parquet` by URL, of an open file and of several.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a dataset's path in its under store; without one, an embedded
cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import polars as pl
import pyarrow.dataset as ds

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write ten files, load them, query them lazily and read them eagerly."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(pl.scan_pyarrow_dataset(ds.dataset(sys.argv[1], filesystem=alluxio_arrow.filesystem())).head(5).collect())
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(10):
            numbers = range(part * 10_000, (part + 1) * 10_000)
            pl.DataFrame({"part": [part] * 10_000, "n": numbers}).write_parquet(f"{directory}/{part}.parquet")
        cluster.load(directory)

        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        lazy = pl.scan_pyarrow_dataset(ds.dataset(directory, filesystem=fs))
        local = pl.scan_parquet(f"{directory}/*.parquet")
        sums, expected = (
            frame.filter(pl.col("n") >= 50_000).group_by("part").agg(pl.col("n").sum()).sort("part").collect()
            for frame in (lazy, local)
        )
        assert sums.equals(expected)
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"lazy: {sums.height} groups, {stats.bytes_cache} bytes from the cache, {stats.bytes_ufs} from the under store")

        options = {"etcd_hosts": cluster.etcd_hosts, "target_protocol": "file"}
        adapter = alluxio_arrow.AlluxioFileSystem(**options)
        with adapter.open(f"{directory}/3.parquet") as file:
            frame = pl.read_parquet(file, columns=["n"])
        assert frame.equals(pl.read_parquet(f"{directory}/3.parquet", columns=["n"]))
        url = f"alluxio://{directory}/3.parquet"
        assert pl.read_parquet(url, columns=["n"], use_pyarrow=True, storage_options=options).equals(frame)
        # Polars reads several open files in threads of its own.
        files = [adapter.open(f"{directory}/{part}.parquet") for part in range(10)]
        assert pl.read_parquet(files).equals(local.collect())
        stats = adapter.handler.stats()
        assert stats.pages_cache > 0
        print(f"eager: {frame.height} rows, {stats.bytes_cache} bytes from the cache, {stats.bytes_ufs} from the under store")


if __name__ == "__main__":
    main()
