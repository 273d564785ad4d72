"""Virtual environments for clients whose pins do not fit beside ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / "build"

#: client -> the file of requirements that its own environment is made from
OWN_ENVIRONMENT = {
    "alluxiofs_103": "requirements-alluxiofs-103.txt",
    "alluxiofs_117": "requirements-alluxiofs-117.txt",
}


@dataclass(frozen=True)
class Environment:
    """An interpreter and what its process must find in its environment."""

    python: str
    variables: dict[str, str] = field(default_factory=dict)


class EnvironmentNotMadeError(RuntimeError):
    """A client's packages could not be installed; the message ends with the installer's last lines."""


def environment(client: str, package_root: Path) -> Environment:
    """Return the environment of a client, made on first use.

    Parameters
    ----------
    client : str
        Name of a module in ``clients``.
    package_root : Path
        Directory that holds the ``alluxio_arrow`` to be measured.

    Raises
    ------
    EnvironmentNotMadeError
        If its packages cannot be installed.
    """
    if client not in OWN_ENVIRONMENT:
        return Environment(sys.executable, {"PYTHONPATH": str(package_root)})
    requirements = HERE / OWN_ENVIRONMENT[client]
    stamp = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    directory = BUILD / "environments" / client
    python = directory / "bin" / "python"
    if (directory / "stamp").exists() and (directory / "stamp").read_text() == stamp:
        return Environment(str(python))
    shutil.rmtree(directory, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(directory)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_clean())
        if done.returncode:
            raise EnvironmentNotMadeError(" / ".join(done.stderr.strip().splitlines()[-3:]))
    (directory / "stamp").write_text(stamp)
    return Environment(str(python))


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
