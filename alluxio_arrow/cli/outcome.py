"""How a command ends: exit codes, and which error means which."""

from __future__ import annotations

from alluxio_arrow.errors import AlluxioError, ConfigError, MembershipError, WorkerTimeoutError, WorkerUnavailableError

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_NOT_FOUND",
    "EXIT_OK",
    "EXIT_OUTPUT_CLOSED",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "UsageError",
    "describe",
    "one_line",
]

EXIT_OK = 0
#: It failed, or something unhealthy was found.
EXIT_FAILED = 1
#: The command line or the configuration is wrong.
EXIT_USAGE = 2
#: There is no such file, directory or load job.
EXIT_NOT_FOUND = 3
#: ETCD, or every worker that could answer, cannot be reached.
EXIT_UNREACHABLE = 4
#: Ctrl-C, as shells count it.
EXIT_INTERRUPTED = 130
#: Whoever read the output went away, as shells count it.
EXIT_OUTPUT_CLOSED = 141


class UsageError(Exception):
    """The command line cannot be understood; the message never holds a value that may be a secret."""


def describe(error: Exception) -> tuple[int, str]:
    """Exit code and one line of text for `error`."""
    # Some are two kinds at once: a ConfigError is a ValueError, a WorkerUnavailableError an OSError.
    if isinstance(error, FileNotFoundError):
        code = EXIT_NOT_FOUND
    elif isinstance(error, (MembershipError, WorkerUnavailableError, WorkerTimeoutError)):
        code = EXIT_UNREACHABLE
    elif isinstance(error, ConfigError) or type(error) is ValueError:
        code = EXIT_USAGE
    else:
        code = EXIT_FAILED
    return code, one_line(error)


def one_line(error: BaseException) -> str:
    """What `error` says, in one line and without ``[Errno n]``."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error)
        if not isinstance(error, (AlluxioError, ValueError, OSError)) or not text:
            # Not one of ours: only its class says what it is about.
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return " ".join(text.split())
