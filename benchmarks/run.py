"""Runs the benchmarks: every client in its own process, rounds interleaved, results as JSON.

See README.md. ``python benchmarks/run.py --quick`` is a run of a minute or two.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fnmatch
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import data
import report
from cases import STORE_PEERS, Case, cases
from clients.base import Target
from environments import BUILD, HERE, Environment, EnvironmentNotMadeError, environment
from servers import EmbeddedCluster, PageServer, Server, build

ROOT = HERE.parent
QUICK_SCALE = 0.05
ERROR_CHARACTERS = 300


class ClientError(Exception):
    """A client could not start, or a workload failed in it; the message is what it said."""


@dataclass(frozen=True)
class Contender:
    """A client and the checkout of the package that it measures.

    Attributes
    ----------
    label : str
        Its name in the results: the client's, with ``@revision`` for another checkout.
    client : str
        Name of a module in ``clients``.
    package_root : Path
        Where ``alluxio_arrow`` is imported from.
    """

    label: str
    client: str
    package_root: Path


class Process:
    """One process of one client.

    Parameters
    ----------
    contender : Contender
        What runs in it.
    target : Target
        What it reads from.
    log : file
        Where it prints.

    Raises
    ------
    ClientError
        If it does not come up.
    """

    def __init__(self, contender: Contender, made: Environment, target: Target, log: Any) -> None:
        setup = json.dumps({"client": contender.client, "target": asdict(target)})
        variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
        self._process = subprocess.Popen(
            [made.python, str(HERE / "child.py"), setup],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**variables, **made.variables},
            cwd=BUILD,
        )
        try:
            self.versions = self.receive()
        except ClientError:
            self.stop()
            raise

    def send(self, workload: str, arguments: dict[str, Any]) -> None:
        """Start a workload."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"workload": workload, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ClientError(f"process ended with status {self._process.wait()}") from None

    def receive(self) -> dict[str, Any]:
        """Return the answer of the workload that was started."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ClientError(f"process ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ClientError(answer["error"][:ERROR_CHARACTERS])
        return answer

    def ask(self, workload: str, **arguments: Any) -> dict[str, Any]:
        """Run a workload."""
        self.send(workload, arguments)
        return self.receive()

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Entrant:
    """The processes of one contender in one case, and what they measured."""

    def __init__(self, contender: Contender, case: Case, server: Server, log: Any) -> None:
        self.label = contender.label
        self.error: str | None = None
        self.first_run: dict[str, Any] = {}
        self.rounds: list[dict[str, Any]] = []
        self._case = case
        self._server = server
        self._processes: list[Process] = []
        try:
            made = environment(contender.client, contender.package_root)
            for _ in range(case.processes):
                self._processes.append(Process(contender, made, server.target, log))
            if case.workload.startswith(("read_sequential", "read_random")):
                self._check_bytes()
        except (ClientError, EnvironmentNotMadeError) as error:
            self.fail(str(error))

    def _check_bytes(self) -> None:
        """Compare a range that crosses pages with the file's own bytes."""
        name, offset, length = self._case.arguments["name"], (1 << 20) - 100, (2 << 20) + 300
        with (Path(self._server.target.root) / name).open("rb") as file:
            file.seek(offset)
            right = hashlib.sha256(file.read(length)).hexdigest()
        answer = self._processes[0].ask("check", name=name, offset=offset, length=length)
        if answer["digest"] != right:
            raise ClientError("it returned other bytes than the file holds")

    @property
    def versions(self) -> dict[str, str]:
        """What the process runs on."""
        return self._processes[0].versions if self._processes else {}

    def fail(self, message: str) -> None:
        """Take part no longer."""
        self.error = message
        self.stop()

    def run_once(self) -> dict[str, Any] | None:
        """Run the workload once in each process, side by side; None when it failed."""
        if self.error is not None:
            return None
        self._server.take_counts()
        server_cpu = self._server.cpu_s()
        try:
            for process in self._processes:
                process.send(self._case.workload, self._case.arguments)
            answers = [process.receive() for process in self._processes]
        except ClientError as error:
            self.fail(str(error))
            return None
        counts = self._server.take_counts()
        for answer in answers:
            if self._case.expected and answer["bytes"] != self._case.expected:
                self.fail(f"it got {answer['bytes']}, not {self._case.expected}")
                return None
        return {
            "wall_s": max(answer["wall_s"] for answer in answers),
            "cpu_s": sum(answer["cpu_s"] for answer in answers),
            "server_cpu_s": self._server.cpu_s() - server_cpu,
            "got": sum(answer["bytes"] for answer in answers),
            "peak_memory_bytes": max(answer["peak_memory_bytes"] for answer in answers),
            "base_memory_bytes": max(answer["base_memory_bytes"] for answer in answers),
            "requests": {route: count for route, count in counts["requests"].items() if count},
            "body_bytes": sum(counts["bytes"].values()),
            "connections": counts["connections"],
            "files_asked": counts["files_asked"],
            "most_page_requests_of_a_file": counts["most_page_requests_of_a_file"],
            "extra": answers[0]["extra"],
        }

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.stop()
        self._processes = []

    def result(self) -> dict[str, Any]:
        """Return what JSON keeps: the figures' medians and spread, counts of the last round."""
        if self.error is not None or not self.rounds:
            return {"error": self.error or "not run"}
        last = self.rounds[-1]
        answer: dict[str, Any] = {}
        for figure in ("wall_s", "cpu_s", "server_cpu_s", "peak_memory_bytes", "base_memory_bytes"):
            values = [one[figure] for one in self.rounds]
            answer[figure] = {
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
                "rounds": values,
            }
        for count in ("requests", "body_bytes", "connections", "files_asked", "most_page_requests_of_a_file", "extra"):
            answer[count] = last[count]
        answer["first_run"] = {name: self.first_run[name] for name in ("wall_s", "cpu_s", "requests", "connections")}
        return answer


def _compare_counts(entrants: list[Entrant]) -> None:
    """Fail whoever got another number of rows than the local file gives (or, without it, the first who got any)."""
    answers = {entrant.label: entrant.first_run["got"] for entrant in entrants if entrant.first_run}
    right = answers.get("local_osfile", next(iter(answers.values()), None))
    for entrant in entrants:
        if answers.get(entrant.label, right) != right:
            entrant.fail(f"it got {answers[entrant.label]} rows, not {right}")


def run_case(case: Case, contenders: list[Contender], server: Server, *, rounds: int, log: Any) -> dict[str, Any]:
    """Run one case: all clients warmed up, then *rounds* rounds in which each runs once, in a turning order."""
    server.set_delay(0)
    entrants = [Entrant(contender, case, server, log) for contender in contenders]
    try:
        server.set_delay(case.delay_us)
        for entrant in entrants:
            entrant.first_run = entrant.run_once() or {}
        _compare_counts(entrants)
        for number in range(rounds):
            turn = number % len(entrants)
            for entrant in entrants[turn:] + entrants[:turn]:
                answer = entrant.run_once()
                if answer:
                    entrant.rounds.append(answer)
        versions = {entrant.label: entrant.versions for entrant in entrants}
    finally:
        for entrant in entrants:
            entrant.stop()
    return {
        "name": case.name,
        "title": case.title,
        "workload": case.workload,
        "delay_us": case.delay_us,
        "useful_bytes": case.useful_bytes,
        "facts": case.facts,
        "rounds": rounds,
        "versions": versions,
        "results": {entrant.label: entrant.result() for entrant in entrants},
    }


@contextlib.contextmanager
def checkout(revision: str | None) -> Iterator[Path | None]:
    """Check *revision* out beside this one for the length of the block."""
    if revision is None:
        yield None
        return
    directory = Path(tempfile.mkdtemp(prefix="alluxio-arrow-compare-"))
    git = ["git", "-C", str(ROOT), "worktree"]
    try:
        subprocess.run([*git, "add", "--quiet", "--detach", str(directory / "tree"), revision], check=True)
        yield directory / "tree"
    finally:
        subprocess.run([*git, "remove", "--force", str(directory / "tree")], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def describe(arguments: argparse.Namespace, scale: float) -> dict[str, Any]:
    """Return where, when and of what the results are."""
    return {
        "command": " ".join(["python", "benchmarks/run.py", *sys.argv[1:]]),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "alluxio_arrow", "benchmarks")),
        "compared": arguments.compare,
        "target": "embedded cluster" if arguments.cluster else "page server",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "scale": scale,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure clients of cached Alluxio pages against each other.")
    parser.add_argument("--quick", action="store_true", help=f"small data (--scale {QUICK_SCALE}) and two rounds")
    parser.add_argument("--scale", type=float, help="size of the data; 1 (default) is about 2.2 GB")
    parser.add_argument("--rounds", type=int, help="measured rounds per case (default 5; long cases: at most 3)")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="cases whose name matches (may be repeated)")
    parser.add_argument("--clients", help="comma separated names; default: all of each case")
    parser.add_argument("--compare", metavar="REVISION", help="measure only our client, here and at another commit")
    parser.add_argument("--cluster", action="store_true", help="read from the embedded cluster, not from the page server")
    parser.add_argument("--page-size", type=int, default=1 << 20, help="bytes (default 1 MiB)")
    parser.add_argument("--data", type=Path, help="directory for the data (default: in memory when there is room)")
    parser.add_argument("--keep-data", action="store_true", help="do not delete the data at the end")
    parser.add_argument("--output", type=Path, default=BUILD / "results.json", help="where the results go")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    return parser.parse_args(arguments)


def choose(case: Case, options: argparse.Namespace, other: Path | None) -> list[Contender]:
    """Return who takes part in a case."""
    wanted = set(options.clients.split(",")) if options.clients else None
    names = [name for name in case.clients if wanted is None or name in wanted]
    if options.cluster:
        names = [name for name in names if name not in {"alluxiofs_117", *STORE_PEERS}]
    if other is not None:
        names = [name for name in case.clients if name in {"ours", "local_osfile", "c"}]
        if "ours" not in names:
            return []
    contenders = [Contender(name, name, ROOT) for name in names]
    if other is not None:
        contenders.insert(1, Contender(f"ours@{options.compare}", "ours", other))
    return contenders


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run what the command line asks for, and return the results."""
    options = parse(arguments)
    scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    rounds = options.rounds or (2 if options.quick else 5)
    build()
    directory = options.data or data.default_directory(scale)
    results: dict[str, Any] = {"about": describe(options, scale), "cases": []}
    try:
        catalog = data.make(directory, scale)
        chosen = [
            case
            for case in cases(catalog)
            if not options.only or any(fnmatch.fnmatch(case.name, pattern) for pattern in options.only)
            if not (options.cluster and case.delay_us)
        ]
        if options.list:
            for case in chosen:
                print(f"{case.name:28} {case.title}")
            return results
        results["data"] = asdict(catalog)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        other_edition = options.compare is None and "alluxiofs_117" in (options.clients or "alluxiofs_117")
        with (
            checkout(options.compare) as other,
            EmbeddedCluster(catalog, page_size=options.page_size)
            if options.cluster
            else PageServer(catalog, page_size=options.page_size, other_edition=other_edition) as server,
            options.output.with_suffix(".log").open("w") as log,
        ):
            for case in chosen:
                contenders = choose(case, options, other)
                if not contenders:
                    continue
                print(f"{case.name}: {case.title}", flush=True)
                limit = min(rounds, 3) if case.few_rounds else rounds
                result = run_case(case, contenders, server, rounds=limit, log=log)
                results["cases"].append(result)
                print(report.lines_of_case(result), flush=True)
                options.output.write_text(json.dumps(results, indent=1))
    finally:
        if not options.keep_data and options.data is None:
            shutil.rmtree(directory, ignore_errors=True)
    if results["cases"]:
        finish(results, options.output)
    return results


def finish(results: dict[str, Any], output: Path) -> None:
    """Write the tables and charts beside the results, and print the targets."""
    output.with_suffix(".md").write_text(report.markdown(results))
    print(f"results: {output}, {output.with_suffix('.md')}")
    try:
        drawn = report.charts(results, output.with_suffix(""))
    except ImportError:
        print("no charts: matplotlib is not installed")
    else:
        print("charts:", ", ".join(str(path) for path in drawn) or "none for these cases")
    print(report.checks_markdown(list(report.checks(results))))


if __name__ == "__main__":
    main()
