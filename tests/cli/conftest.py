"""What the tests of the command line share: running it inside this process, and as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import NamedTuple

import pytest

from alluxio_arrow.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No setting of the machine, and none of one test in another."""
    for name in list(os.environ):
        if name.startswith(("ALLUXIO_ARROW_", "AWS_")) or name in ("COLUMNS", "NO_COLOR"):
            monkeypatch.delenv(name)


@pytest.fixture
def run(capfd):
    """Runs a command line in this process."""

    def run(*argv):
        capfd.readouterr()
        code = main([str(word) for word in argv])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def connected(monkeypatch, cluster, run):
    """`run`, connected to the shared cluster by the environment."""
    for name, value in connection(cluster).items():
        monkeypatch.setenv(name, value)
    return run


@pytest.fixture
def connected_bytes(monkeypatch, cluster, capfdbinary):
    """Runs a command line that must succeed, and gives the bytes that it wrote."""
    for name, value in connection(cluster).items():
        monkeypatch.setenv(name, value)

    def run(*argv):
        code = main([str(word) for word in argv])
        out, err = capfdbinary.readouterr()
        assert (code, err) == (0, b"")
        return out

    return run


def connection(cluster):
    return {
        "ALLUXIO_ARROW_ETCD_HOSTS": cluster.etcd_hosts,
        "ALLUXIO_ARROW_TARGET_PROTOCOL": "file",
        "ALLUXIO_ARROW_UFS_ROOT": cluster.ufs_root,
    }


@pytest.fixture
def start():
    """Starts the command line as a program; it is killed at the end if it still runs."""
    started = []

    def start(*argv, env=None, **how):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        process = subprocess.Popen(
            [sys.executable, "-m", "alluxio_arrow", *map(str, argv)], env={**os.environ, **(env or {})}, **how
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
