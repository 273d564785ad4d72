"""Pages with ``requests.get``: a new connection and a new session for each, as alluxiofs 1.0.x fetches a page."""

from __future__ import annotations

from typing import Any

import requests

from .base import PageClient


class Client(PageClient):
    """Keeps nothing."""

    def read_range(self, name: str, offset: int, length: int) -> Any:
        """Join the bodies of the pages."""
        root = f"http://{self.host_of(name)}:{self.target.port}"
        return b"".join(self._page(root + url) for url in self.page_urls(name, offset, length))

    def _page(self, url: str) -> bytes:
        response = requests.get(url, timeout=30)
        response.raise_for_status()
        return response.content
