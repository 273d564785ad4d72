"""What a command works with: the configuration and the client, made when first needed and closed at the end."""

from __future__ import annotations

import argparse
from functools import cached_property
from types import TracebackType

from alluxio_arrow.cli.options import settings_of
from alluxio_arrow.cli.outcome import UsageError
from alluxio_arrow.cli.output import Output
from alluxio_arrow.cli.secrets import Secrets
from alluxio_arrow.client import Client
from alluxio_arrow.config import Settings
from alluxio_arrow.handler import AlluxioHandler
from alluxio_arrow.loads import LoadVerbs

__all__ = ["Session"]


class Session:
    """One run of one command; a context manager.

    Parameters
    ----------
    arguments
        The parsed command line.
    out
        Where results go.
    secrets
        What must not be seen.
    """

    def __init__(self, arguments: argparse.Namespace, out: Output, secrets: Secrets) -> None:
        self.arguments = arguments
        self.out = out
        self.secrets = secrets

    @cached_property
    def settings(self) -> Settings:
        """The configuration of flags, file and environment."""
        return settings_of(self.arguments, self.secrets)

    @cached_property
    def handler(self) -> AlluxioHandler:
        """Files of the cluster."""
        return AlluxioHandler(self.settings)

    @property
    def client(self) -> Client:
        """The client beneath the handler."""
        return self.handler.client

    @property
    def jobs(self) -> LoadVerbs:
        """Load jobs of the cluster."""
        return self.handler

    def default_path(self) -> str | None:
        """Where to look when no path is given: the root of the cluster's under store, if it is configured."""
        return self.settings.ufs_root

    def paths(self, given: list[str]) -> list[str]:
        """The paths that are given, or the default one.

        Raises
        ------
        UsageError
            There is none.
        """
        if given:
            return given
        root = self.default_path()
        if root is None:
            raise UsageError("a PATH is needed, or the cluster's root (--ufs-root, alluxio.dora.client.ufs.root)")
        return [root]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if "handler" in self.__dict__:
            self.client.close()
