"""Read an Alluxio cluster's cache from Arrow.

Names are imported when they are first used, so that importing the package costs nothing and starts nothing.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alluxio_arrow.errors import AlluxioError as AlluxioError
    from alluxio_arrow.errors import ConfigError as ConfigError
    from alluxio_arrow.errors import LoadError as LoadError
    from alluxio_arrow.errors import MembershipError as MembershipError
    from alluxio_arrow.errors import NotCachedError as NotCachedError
    from alluxio_arrow.errors import ProtocolError as ProtocolError
    from alluxio_arrow.errors import ShortReadError as ShortReadError
    from alluxio_arrow.errors import StaleFileError as StaleFileError
    from alluxio_arrow.errors import WorkerError as WorkerError
    from alluxio_arrow.errors import WorkerTimeoutError as WorkerTimeoutError
    from alluxio_arrow.errors import WorkerUnavailableError as WorkerUnavailableError
    from alluxio_arrow.fsspec import AlluxioFileSystem as AlluxioFileSystem
    from alluxio_arrow.handler import AlluxioHandler as AlluxioHandler
    from alluxio_arrow.handler import filesystem as filesystem
    from alluxio_arrow.loads import AlluxioClient as AlluxioClient
    from alluxio_arrow.loads import LoadProgress as LoadProgress
    from alluxio_arrow.loads import LoadState as LoadState

__version__ = "0.1.0"

# Where log lines go is the application's choice; without one, they go nowhere.
logging.getLogger(__name__).addHandler(logging.NullHandler())

#: Where each public name lives.
_HOMES = {
    "AlluxioClient": "loads",
    "AlluxioError": "errors",
    "AlluxioFileSystem": "fsspec",
    "AlluxioHandler": "handler",
    "ConfigError": "errors",
    "LoadError": "errors",
    "LoadProgress": "loads",
    "LoadState": "loads",
    "MembershipError": "errors",
    "NotCachedError": "errors",
    "ProtocolError": "errors",
    "ShortReadError": "errors",
    "StaleFileError": "errors",
    "WorkerError": "errors",
    "WorkerTimeoutError": "errors",
    "WorkerUnavailableError": "errors",
    "filesystem": "handler",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - sorted() gives the list that is asked for


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
