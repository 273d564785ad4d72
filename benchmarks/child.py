"""The process of one client: runs workloads that come in as lines of JSON, and answers with a line each.

Started by ``run.py`` with the interpreter of the client's environment. What clients print goes to standard error.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import traceback
from typing import Any

import pyarrow as pa

from clients.base import BaseClient, Target
from workloads import WORKLOADS


def _check(client: BaseClient, name: str, offset: int, length: int) -> str:
    """Return the digest of a range, for the harness to compare with the file's own bytes."""
    return hashlib.sha256(memoryview(client.open(name).read_at(offset, length))).hexdigest()


def _answer(client: BaseClient, command: dict[str, Any]) -> dict[str, Any]:
    arguments = command["arguments"]
    if command["workload"] == "check":
        return {"digest": _check(client, **arguments)}
    return WORKLOADS[command["workload"]](client, **arguments).as_dict()


def main() -> None:
    """Serve one client until standard input ends."""
    # An editable install would lend its modules to another checkout of the package that lacks them.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    setup = json.loads(sys.argv[1])
    setup["target"]["hosts"] = tuple(setup["target"]["hosts"])

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        client = importlib.import_module(f"clients.{setup['client']}").Client(Target(**setup["target"]))
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say({"python": sys.version.split()[0], "pyarrow": pa.__version__})
    for line in sys.stdin:
        try:
            say(_answer(client, json.loads(line)))
        except Exception as error:
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"})
    answers.close()
    os._exit(0)  # a client's threads must not keep a measured process alive


if __name__ == "__main__":
    main()
