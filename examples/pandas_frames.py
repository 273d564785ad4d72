"""pandas: `read_parquet` and `read_csv`, by filesystem and by URL.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a Parquet file's path in its under store;
without one, an embedded cluster is started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile

import pandas as pd

from alluxio_arrow import AlluxioFileSystem
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write a frame in two formats, load both, read them in four ways."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        print(pd.read_parquet(f"alluxio://{sys.argv[1]}").head(5))
        return
    frame = pd.DataFrame({"id": range(100_000), "half": [index / 2 for index in range(100_000)]})
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        frame.to_parquet(f"{directory}/frame.parquet")
        frame.to_csv(f"{directory}/frame.csv", index=False)
        cluster.load(directory)

        options = {"etcd_hosts": cluster.etcd_hosts, "target_protocol": "file"}
        fs = AlluxioFileSystem(**options)
        pd.testing.assert_frame_equal(pd.read_parquet(f"{directory}/frame.parquet", filesystem=fs), frame)
        halves = pd.read_parquet(f"alluxio://{directory}/frame.parquet", columns=["half"], storage_options=options)
        pd.testing.assert_frame_equal(halves, frame[["half"]])
        pd.testing.assert_frame_equal(pd.read_csv(f"alluxio://{directory}/frame.csv", storage_options=options), frame)
        with fs.open(f"{directory}/frame.csv") as file:
            pd.testing.assert_frame_equal(pd.concat(pd.read_csv(file, chunksize=10_000)), frame)
        # Equal settings share one handler: these are the numbers of the URLs, too.
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(
            f"{len(frame)} rows in four ways: {stats.bytes_cache} bytes from the cache, {stats.bytes_ufs} from the under store"
        )


if __name__ == "__main__":
    main()
