"""Dask: frames and bytes by URL, in threads and in processes."""

from __future__ import annotations

import tempfile

import dask
import dask.bytes
import dask.dataframe as dd
import pyarrow as pa
import pyarrow.parquet as pq

from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write six files, load them, compute over them."""
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(6):
            pq.write_table(pa.table({"n": range(part * 10_000, (part + 1) * 10_000)}), f"{directory}/{part}.parquet")
        cluster.load(directory)
        options = {"etcd_hosts": cluster.etcd_hosts, "target_protocol": "file"}

        frame = dd.read_parquet(f"alluxio://{directory}/*.parquet", storage_options=options)
        for scheduler in ("threads", "processes"):
            with dask.config.set(scheduler=scheduler, num_workers=2):
                assert frame["n"].sum().compute() == sum(range(60_000))
        print(f"{frame.npartitions} partitions, in threads and in processes")
        lengths = [dask.delayed(len)(part) for part in dask.bytes.read_bytes(f"alluxio://{directory}/*.parquet", **options)[1]]
        assert len(dask.compute(*lengths)) == 6
        print(f"{cluster.stats()['pages']} pages came from the workers")


if __name__ == "__main__":
    main()
