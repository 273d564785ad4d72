"""Pages with a urllib3 pool and ``response.data``, one after another."""

from __future__ import annotations

from typing import Any

import urllib3

from .base import PageClient, Target


class Client(PageClient):
    """Keeps one pool per worker."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._pools = {
            host: urllib3.HTTPConnectionPool(host, target.port, maxsize=64, retries=False) for host in target.hosts
        }

    def read_range(self, name: str, offset: int, length: int) -> Any:
        """Join the bodies of the pages."""
        pool = self._pools[self.host_of(name)]
        return b"".join(self._page(pool, url) for url in self.page_urls(name, offset, length))

    @staticmethod
    def _page(pool: urllib3.HTTPConnectionPool, url: str) -> bytes:
        response = pool.request("GET", url)
        if response.status != 200:
            raise OSError(f"{url}: HTTP status {response.status}")
        return response.data
