"""``minicluster``: the embedded cluster, for trying things."""

from __future__ import annotations

import argparse
import shlex
import signal
from typing import Any

from alluxio_arrow.cli.options import given_options
from alluxio_arrow.cli.outcome import EXIT_FAILED, EXIT_OK, UsageError
from alluxio_arrow.cli.session import Session
from alluxio_arrow.config import OPTIONS, SecretOptions
from alluxio_arrow.errors import ConfigError

__all__ = ["run"]

#: What ends it.
_ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

#: Connection options that shape the cluster; others have no meaning here.
_TAKEN = ("page_size", "virtual_nodes", "cluster_name", "etcd_username", "etcd_password", "target_options")


def run(session: Session, arguments: argparse.Namespace) -> int:
    """Run a cluster until a signal ends it."""
    from alluxio_arrow.testing.cluster import MiniCluster

    options = _options(session, arguments)
    # Blocked instead of handled, and inherited so: Ctrl-C reaches all processes of the terminal, and the workers must be ended
    # by the cluster, in order and without a traceback each.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        with MiniCluster(arguments.root, workers=arguments.workers, **options) as cluster:
            if arguments.load:
                cluster.load(cluster.ufs_root)
            _announce(session, cluster)
            signal.sigwait(_ENDS)
    except (FileNotFoundError, RuntimeError) as error:
        # Nothing here is about a file that the user named.
        session.out.error(f"alluxio-arrow: error: {getattr(error, 'strerror', None) or error}")
        return EXIT_FAILED
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return EXIT_OK


def _options(session: Session, arguments: argparse.Namespace) -> dict[str, Any]:
    given = given_options(arguments, session.secrets)
    parsers = {option.name: option.parse for option in OPTIONS}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _TAKEN:
            raise UsageError(f"minicluster takes no --{name.replace('_', '-')}; it makes a cluster of its own")
        try:
            options[name] = parsers[name](value)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None
    if ("etcd_username" in options) != ("etcd_password" in options):
        raise ConfigError("etcd_username and etcd_password are needed together")
    ours = {"etcd_username": "username", "etcd_password": "password", "target_options": "ufs_options"}
    return {ours.get(name, name): dict(value) if isinstance(value, SecretOptions) else value for name, value in options.items()}


def _announce(session: Session, cluster: Any) -> None:
    settings = {name: value for name, value in cluster.settings().items() if name not in ("etcd_password", "target_options")}
    settings["ufs_root"] = cluster.ufs_root
    defaults = {"cluster_name": "DefaultAlluxioCluster", "virtual_nodes": 5}
    settings = {name: value for name, value in settings.items() if defaults.get(name) != value}
    workers = [worker.address for worker in cluster.workers]
    out = session.out
    if out.as_json:
        out.json({**settings, "workers": workers})
    else:
        flags = shlex.join([text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))])
        number = "1 worker" if len(workers) == 1 else f"{len(workers)} workers"
        out.paragraph("", f"a cluster of {number} over {cluster.ufs_root} runs, until Ctrl-C. In another terminal:")
        out.line()
        # As a line that can be copied whole: never cut or wrapped.
        out.line(f"  alluxio-arrow {flags} workers")
        out.line()
        out.line("or once for all commands and programs:")
        out.line()
        for name, value in settings.items():
            out.line(f"  export ALLUXIO_ARROW_{name.upper()}={shlex.quote(str(value))}")
        hidden = sorted({"etcd_password", "target_options"} & set(cluster.settings()))
        if hidden:
            out.line()
            out.line(f"and, as given to this cluster: {', '.join(hidden)}")
    out.flush()
