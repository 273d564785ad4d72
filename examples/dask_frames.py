"""Dask: frames and lines of text by URL, in threads and in processes.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a Parquet file's or a glob's path in its under store;
without one, an embedded cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import dask
import dask.bag
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write six files and a text, load them, compute over them."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(dd.read_parquet(f"alluxio://{sys.argv[1]}").head(5))
        return
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        for part in range(6):
            table = pa.table({"part": [part] * 10_000, "n": range(part * 10_000, (part + 1) * 10_000)})
            pq.write_table(table, f"{directory}/{part}.parquet")
        frame = pd.read_parquet(directory)
        frame.to_csv(f"{directory}/numbers.csv", index=False)
        cluster.load(directory)
        options = {"etcd_hosts": cluster.etcd_hosts, "target_protocol": "file"}

        tables = dd.read_parquet(f"alluxio://{directory}/*.parquet", storage_options=options)
        # In blocks: every task reads a range of the file.
        blocks = dd.read_csv(f"alluxio://{directory}/numbers.csv", storage_options=options, blocksize=100_000)
        lines = dask.bag.read_text(f"alluxio://{directory}/*.csv", storage_options=options)
        for scheduler in ("threads", "processes"):
            before = cluster.stats()["pages"]
            with dask.config.set(scheduler=scheduler, num_workers=2):
                assert tables["n"].sum().compute() == frame["n"].sum()
                pd.testing.assert_frame_equal(blocks.compute().reset_index(drop=True), frame)
                assert lines.count().compute() == len(frame) + 1
            pages = cluster.stats()["pages"] - before
            assert pages > 0
            print(f"{scheduler}: {tables.npartitions} files, {blocks.npartitions} blocks: {pages} pages came from the workers")


if __name__ == "__main__":
    main()
