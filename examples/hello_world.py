"""Hello, world: one file, read through the cluster.

With a cluster of your own, set ALLUXIO_ARROW_ETCD_HOSTS and give a path of its under store; without one, an embedded cluster is
started over a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Read one file and say where it came from."""
    if "ALLUXIO_ARROW_ETCD_HOSTS" in os.environ:
        fs, path = alluxio_arrow.filesystem(), sys.argv[1]
        with fs.open_input_stream(path) as stream:
            print(stream.read(100))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/hello.txt"
        Path(path).write_bytes(b"hello, world")
        with MiniCluster(directory, workers=1) as cluster:
            cluster.load(path)
            fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
            with fs.open_input_stream(path) as stream:
                print(stream.read().decode())
            print(f"{fs.handler.stats().bytes_cache} bytes came from the cache")


if __name__ == "__main__":
    main()
