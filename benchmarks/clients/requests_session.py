"""Pages with one ``requests.Session``, one after another: what most Python clients of an HTTP service do."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter

from .base import PageClient, Target


class Client(PageClient):
    """Keeps connections alive."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._session = requests.Session()
        self._session.mount("http://", HTTPAdapter(pool_connections=64, pool_maxsize=64))

    def read_range(self, name: str, offset: int, length: int) -> Any:
        """Join the bodies of the pages."""
        root = f"http://{self.host_of(name)}:{self.target.port}"
        return b"".join(self._page(root + url) for url in self.page_urls(name, offset, length))

    def _page(self, url: str) -> bytes:
        response = self._session.get(url)
        response.raise_for_status()
        return response.content
