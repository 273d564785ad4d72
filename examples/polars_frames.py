"""Polars: lazy scans of a pyarrow dataset, and `read_parquet` of an open file."""

from __future__ import annotations

import tempfile

import polars as pl
import pyarrow.dataset as ds

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write ten files, load them, query them lazily and read one eagerly."""
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(10):
            numbers = range(part * 10_000, (part + 1) * 10_000)
            pl.DataFrame({"part": [part] * 10_000, "n": numbers}).write_parquet(f"{directory}/{part}.parquet")
        cluster.load(directory)

        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        lazy = pl.scan_pyarrow_dataset(ds.dataset(directory, filesystem=fs))
        sums = lazy.filter(pl.col("n") >= 50_000).group_by("part").agg(pl.col("n").sum()).sort("part").collect()
        assert sums["n"].to_list() == [sum(range(part * 10_000, (part + 1) * 10_000)) for part in range(5, 10)]
        print(f"lazy: {sums.height} groups, {fs.handler.stats().bytes_ufs} bytes from the under store")

        adapter = alluxio_arrow.AlluxioFileSystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        with adapter.open(f"{directory}/3.parquet") as file:
            frame = pl.read_parquet(file, columns=["n"])
        assert frame["n"].sum() == sum(range(30_000, 40_000))
        print(f"eager: {frame.height} rows, {adapter.handler.stats().bytes_ufs} bytes from the under store")


if __name__ == "__main__":
    main()
