"""alluxiofs 1.0.3, the last line that speaks to open-source workers; under pyarrow through ``FSSpecHandler``.

It needs protobuf below 3.21, hence an environment of its own (``requirements-alluxiofs-103.txt``).
"""

from __future__ import annotations

from typing import Any

import pyarrow.fs as pafs

from .base import BaseClient, FsspecReader, Reader, Target


class Client(BaseClient):
    """Finds workers through ETCD, or by host names and one common port."""

    def __init__(self, target: Target) -> None:
        from alluxiofs import AlluxioFileSystem

        super().__init__(target)
        # With an under store, as its users have it: it lists directories there (only the under store can be listed
        # recursively), and would fall back to it silently: the counts of requests show that reads come as pages.
        if target.etcd:
            host, _, port = target.etcd.rpartition(":")
            where = {"etcd_hosts": host, "etcd_port": int(port), "target_protocol": "file"}
        else:
            store = {"anon": True, "endpoint_url": target.s3_endpoint, "use_listings_cache": False}
            where = {
                "worker_hosts": ",".join(target.hosts),
                "worker_http_port": target.port,
                "target_protocol": "s3",
                "target_options": store,
            }
        self._alluxio = AlluxioFileSystem(**where)

    def open(self, name: str) -> Reader:
        """Return a reader of ranges, without fsspec's buffering file."""
        return FsspecReader(self._alluxio, self.path(name))

    def filesystem(self) -> pafs.FileSystem:
        """Return the wrapped filesystem."""
        return pafs.PyFileSystem(pafs.FSSpecHandler(self._alluxio))

    def path(self, name: str) -> str:
        """Return the path as the under store's users write it."""
        return f"{self.target.root}/{name}" if self.target.etcd else f"{self.target.bucket}/{name}"

    def ring(self, workers: int) -> Any:
        """Return a function that looks a path up in a ring of *workers* workers."""
        from alluxiofs.client.worker_ring import ConsistentHashProvider

        hosts = ",".join(f"worker-{index}.example.com" for index in range(workers))
        provider = ConsistentHashProvider(worker_hosts=hosts, worker_http_port=28080, hash_node_per_worker=5)
        return lambda path: provider.get_multiple_workers(path, 1)
