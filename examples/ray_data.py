"""Ray Data: `read_parquet` and `read_csv` with the filesystem passed, on a local cluster with two worker processes."""

from __future__ import annotations

import os
import tempfile

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import ray

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write tables, load them, let Ray's workers read them."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        os.makedirs(f"{directory}/parquet")
        os.makedirs(f"{directory}/csv")
        for part in range(4):
            table = pa.table({"n": range(part * 25_000, (part + 1) * 25_000)})
            pq.write_table(table, f"{directory}/parquet/{part}.parquet")
            pyarrow.csv.write_csv(table, f"{directory}/csv/{part}.csv")
        cluster.load(directory)

        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            for read, kind in ((ray.data.read_parquet, "parquet"), (ray.data.read_csv, "csv")):
                before = cluster.stats()["pages"]
                total = read(f"{directory}/{kind}", filesystem=fs).sum("n")
                assert total == sum(range(100_000))
                pages = cluster.stats()["pages"] - before
                assert pages > 0
                print(f"{kind}: sum {total}, {pages} pages from the workers")
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
