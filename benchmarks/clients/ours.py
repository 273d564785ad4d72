"""This project's client, as a user calls it: the filesystem with its defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.fs as pafs

from .base import FilesystemClient, Target


class Client(FilesystemClient):
    """Without an under store, so that every byte must come from the workers."""

    def __init__(self, target: Target) -> None:
        import alluxio_arrow

        super().__init__(target)
        hosts = [f"{host}:{target.port}" for host in target.hosts]
        self._filesystem = alluxio_arrow.filesystem(
            options={"alluxio.worker.page.store.page.size": str(target.page_size)},
            **({"etcd_hosts": target.etcd} if target.etcd else {"worker_hosts": hosts}),
        )

    def filesystem(self) -> pafs.FileSystem:
        """Return our filesystem."""
        return self._filesystem

    def ring(self, workers: int) -> Callable[[str], Any]:
        """Return a function that looks a path up in a ring of *workers* workers."""
        from alluxio_arrow.ring import HashRing, WorkerIdentity

        ring = HashRing([WorkerIdentity.from_host(f"worker-{index}.example.com") for index in range(workers)])
        return lambda path: ring.candidates(path, 1)
