"""What can go wrong, as callers see it.

Callers think in builtin kinds, operators in details: every class here also derives from the builtin that it refines, so
``except TimeoutError`` and ``except AlluxioError`` both do what they say. A missing file, a missing permission or an existing
target are plain builtins and have no class of their own.

::

    AlluxioError
    ├── ConfigError (ValueError)                    the caller's options
    ├── MembershipError (ConnectionError)           ETCD unreachable, or no worker registered
    ├── LoadError (OSError)                         a load job was refused or failed
    ├── StaleFileError (OSError)                    the file changed while it was being read
    └── WorkerError (OSError)                       one worker, one path
        ├── WorkerUnavailableError (ConnectionError)    -> the next candidate is asked
        ├── WorkerTimeoutError (TimeoutError)           -> the next candidate is asked
        ├── NotCachedError                              bytes are not in the cache and there is no other source
        ├── ShortReadError                              fewer bytes than the file's length promises
        └── ProtocolError                               a reply that cannot be decoded
"""

from __future__ import annotations

import errno
from collections.abc import Callable

__all__ = [
    "AlluxioError",
    "ConfigError",
    "LoadError",
    "MembershipError",
    "NotCachedError",
    "ProtocolError",
    "ShortReadError",
    "StaleFileError",
    "WorkerError",
    "WorkerTimeoutError",
    "WorkerUnavailableError",
    "error_for_status",
]


class AlluxioError(Exception):
    """Base of all errors that this package defines."""


class ConfigError(AlluxioError, ValueError):
    """An option is unknown, malformed or in conflict with another one; the message names it."""


class MembershipError(AlluxioError, ConnectionError):
    """No ETCD endpoint answered, or none of the answers held a usable worker."""


class _PathError(AlluxioError, OSError):
    """An error about one path, with `errno` and `filename` set as the operating system would."""

    default_errno = errno.EIO

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(self.default_errno, message, path)

    def __reduce__(self) -> tuple[type[_PathError], tuple[str, str | None]]:
        # OSError pickles (errno, strerror, filename); these constructors take (message, path).
        return type(self), (self.strerror or "", self.filename)


class LoadError(_PathError):
    """A load job was refused by the cluster, or it ended in failure."""


class StaleFileError(_PathError):
    """The file is not the one that was opened: its size or modification time changed underneath.

    Open it again to read the present version. Raised instead of returning bytes of two versions.
    """

    default_errno = errno.ESTALE


class WorkerError(_PathError):
    """A worker could not serve a request; the message says which worker and what was asked."""


class WorkerUnavailableError(WorkerError, ConnectionError):
    """A worker refused or dropped the connection and is taken for down."""

    default_errno = errno.ECONNREFUSED


class WorkerTimeoutError(WorkerError, TimeoutError):
    """A worker did not answer within the configured time."""

    default_errno = errno.ETIMEDOUT


class NotCachedError(WorkerError):
    """The bytes are not in the cache and no under store is configured to read them from."""

    default_errno = errno.ENODATA


class ShortReadError(WorkerError):
    """A worker sent fewer bytes than the file's length promises."""


class ProtocolError(WorkerError):
    """A worker sent a reply that cannot be decoded."""


#: HTTP status -> builtin error. Open-source workers close the connection instead (and so never get here); other editions
#: and proxies in front of workers answer with these.
_STATUS_ERRORS: dict[int, Callable[[str, str], OSError]] = {
    401: lambda message, path: PermissionError(errno.EACCES, message, path),
    403: lambda message, path: PermissionError(errno.EACCES, message, path),
    404: lambda message, path: FileNotFoundError(errno.ENOENT, message, path),
    408: WorkerTimeoutError,
    409: lambda message, path: FileExistsError(errno.EEXIST, message, path),
    502: WorkerUnavailableError,
    503: WorkerUnavailableError,
    504: WorkerTimeoutError,
}


def error_for_status(status: int, body: bytes, *, worker: str, path: str) -> OSError:
    """The error that stands for an HTTP `status` other than 200, to be raised by the caller.

    Parameters
    ----------
    status
        HTTP status code of the reply.
    body
        Body of the reply; its first 200 bytes become part of the message.
    worker
        ``host:port`` that answered.
    path
        Path the request was about; becomes `filename`.
    """
    excerpt = body[:200].decode("utf-8", "replace").strip()
    message = f"worker {worker} answered {status}" + (f": {excerpt}" if excerpt else "")
    return _STATUS_ERRORS.get(status, WorkerError)(message, path)
