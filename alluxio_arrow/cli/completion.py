"""``--print-completion``: what makes a shell complete the commands and their options."""

from __future__ import annotations

import argparse
from importlib import import_module

from alluxio_arrow.cli.outcome import EXIT_OK, UsageError
from alluxio_arrow.cli.parser import make_parser
from alluxio_arrow.cli.session import Session

__all__ = ["run"]


def run(session: Session, arguments: argparse.Namespace) -> int:
    """Print the completion script of a shell."""
    try:
        shtab = import_module("shtab")
    except ImportError:
        raise UsageError("completion needs the package shtab: pip install 'alluxio_arrow[cli]'") from None
    session.out.write(shtab.complete(make_parser(shows_all=True), arguments.print_completion) + "\n")
    return EXIT_OK
