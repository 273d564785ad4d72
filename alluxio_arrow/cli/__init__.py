"""The command line: ``alluxio-arrow COMMAND``, or ``python -m alluxio_arrow COMMAND``.

A command is a function ``run(session, arguments)`` that gives an exit code. Everything it says goes through `Output`, every
error through `describe`, so that terminals, pipes, secrets and exit codes are one module's business each.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from alluxio_arrow.cli.outcome import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OUTPUT_CLOSED,
    EXIT_USAGE,
    UsageError,
    describe,
    one_line,
)
from alluxio_arrow.cli.output import ClosedOutputError, Output
from alluxio_arrow.cli.parser import parse
from alluxio_arrow.cli.secrets import Secrets

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default this process's) and give its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    secrets = Secrets()
    out = Output(secrets=secrets)
    try:
        code = _run(given, out, secrets)
        out.flush()
    except ClosedOutputError:
        out.silence()
        return EXIT_OUTPUT_CLOSED
    except OSError as error:
        # What was still buffered does not fit on the disk.
        out.silence()
        out.error(f"alluxio-arrow: error: the output cannot be written: {one_line(error)}")
        return EXIT_FAILED
    return code


def _run(argv: list[str], out: Output, secrets: Secrets) -> int:
    is_debug = "--debug" in argv
    try:
        arguments = parse(argv)
        out.as_json = arguments.json
        with _log_to_stderr(out, is_debug=is_debug):
            return _dispatch(arguments, out, secrets)
    except ClosedOutputError:
        raise
    except SystemExit as end:
        # argparse, after --help or --version.
        return int(end.code or 0)
    except KeyboardInterrupt:
        if is_debug:
            out.error(traceback.format_exc())
        return EXIT_INTERRUPTED
    except UsageError as error:
        out.error(f"alluxio-arrow: error: {error}")
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 - the top of the program: whatever went wrong is said in one line
        if is_debug:
            out.error(traceback.format_exc())
        code, message = describe(error)
        out.error(f"alluxio-arrow: error: {message}")
        return code


def _dispatch(arguments: argparse.Namespace, out: Output, secrets: Secrets) -> int:
    from alluxio_arrow.cli.session import Session

    run = import_module(f"alluxio_arrow.cli.{arguments.module}").__dict__[arguments.function]
    with Session(arguments, out, secrets) as session:
        return int(run(session, arguments))


@contextmanager
def _log_to_stderr(out: Output, *, is_debug: bool) -> Iterator[None]:
    """Let the package's warnings (with --debug, everything) be read, without their secrets."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            out.error(f"alluxio-arrow: {record.levelname.lower()}: {record.getMessage()}")

    logger = logging.getLogger("alluxio_arrow")
    before = logger.level
    handler = Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if is_debug else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
