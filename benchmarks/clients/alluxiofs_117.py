"""alluxiofs 1.1.17, which speaks to another edition's servers; under pyarrow through ``FSSpecHandler``.

Open-source workers close the connection on its first request (``/v1/node``). Here the page server answers that request, and
the ranged GETs of the Alluxio path on port 29998 that the client is bound to, so that its read path can be timed at all.
"""

from __future__ import annotations

import logging

import pyarrow.fs as pafs

from .base import BaseClient, FsspecReader, Reader, Target


class Client(BaseClient):
    """Asks which node to use before every range, then opens a new connection for it."""

    def __init__(self, target: Target) -> None:
        from alluxiofs import AlluxioFileSystem

        super().__init__(target)
        hosts = ",".join(f"{host}:{target.port}" for host in target.hosts)
        self._alluxio = AlluxioFileSystem(
            worker_hosts=hosts,
            logger=logging.getLogger("alluxiofs"),
            target_protocol="s3",
            target_options={"anon": True, "endpoint_url": target.s3_endpoint, "use_listings_cache": False},
        )

    def open(self, name: str) -> Reader:
        """Return a reader of ranges, without fsspec's buffering file."""
        return FsspecReader(self._alluxio, self.path(name))

    def filesystem(self) -> pafs.FileSystem:
        """Return the wrapped filesystem."""
        return pafs.PyFileSystem(pafs.FSSpecHandler(self._alluxio))

    def path(self, name: str) -> str:
        """Return the Alluxio path, which is what its listings yield."""
        return f"/{self.target.bucket}/{name}"
