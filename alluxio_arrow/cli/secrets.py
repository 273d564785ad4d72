"""Keeping secrets out of everything that is printed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Secrets"]

#: Variables whose values are secrets, whoever reads them.
_VARIABLES = ("ALLUXIO_ARROW_ETCD_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

#: Under-store options that tell where and how, not who; all others are taken for secrets.
_HARMLESS = frozenset(
    {"endpoint_url", "region", "region_name", "anon", "use_ssl", "verify", "host", "port", "project", "account_name"}
)

#: ``user:password@`` in front of a host.
_USER_INFO = re.compile(r"[^\s/:'\"@]+:[^\s/@'\"]+@")

_SHORTEST = 3
_MASK = "***"


class Secrets:
    """Values that must not be seen, and a function that takes them out of a text."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        for variable in _VARIABLES:
            self.add(os.environ.get(variable))

    def add(self, value: Any, key: str = "") -> None:
        """Hide `value` from now on: a text, or all texts of a (nested) mapping but those under harmless keys."""
        if isinstance(value, Mapping):
            for name, item in value.items():
                self.add(item, str(name))
        elif isinstance(value, str) and len(value) >= _SHORTEST and key not in _HARMLESS:
            self._values.add(value)

    def hide(self, text: str) -> str:
        """`text` with every secret replaced by asterisks."""
        # The longest first: one may be a part of another.
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, _MASK)
        return _USER_INFO.sub(f"{_MASK}@", text)
