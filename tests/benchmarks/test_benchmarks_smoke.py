"""The benchmarks run, count and compare; nothing is said about speed here."""

from __future__ import annotations

import importlib
import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("make") and sys.platform == "linux"), reason="needs a C compiler and Linux"
)


@pytest.fixture(scope="module")
def bench():
    """The benchmarks' modules, which are scripts and so not part of the package."""
    names = ("cases", "clients", "clients.base", "data", "environments", "report", "run", "servers")
    before = {name: sys.modules.pop(name, None) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)
        if before[name] is not None:
            sys.modules[name] = before[name]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmarks") / "results.json"


@pytest.fixture(scope="module")
def results(bench, output):
    arguments = ["--scale", "0.01", "--rounds", "1", "--data", str(output.parent / "data"), "--output", str(output)]
    arguments += ["--only", "random_64kb", "--only", "small_files", "--only", "list_directory"]
    return bench["run"].main([*arguments, "--clients", "ours,c,local_osfile"])


def test_clients_get_the_right_bytes_and_their_requests_are_counted(results, output):
    assert json.loads(output.read_text())["cases"] == results["cases"]
    random, small, listing = (
        next(case for case in results["cases"] if case["name"] == name)
        for name in ("random_64kb", "small_files", "list_directory")
    )
    for case in (random, small, listing):
        assert all("error" not in figures for figures in case["results"].values()), case
        assert case["results"]["local_osfile"]["requests"] == {}
    for client in ("ours", "c"):
        assert random["results"][client]["requests"] == {"page": random["facts"]["reads"]}
        assert random["results"][client]["body_bytes"] == random["useful_bytes"]
    assert small["results"]["c"]["requests"]["page"] == 2 * small["facts"]["files"] + 1
    assert listing["results"]["ours"]["first_run"]["requests"] == {"files": 1}


def test_report_has_every_case_and_decides_targets(bench, results, output):
    text = output.with_suffix(".md").read_text()
    assert all(case["title"] in text for case in results["cases"])
    decided = {(check.case, check.target): check.reached for check in bench["report"].checks(results)}
    assert decided["list_directory", "one files request, none per file"] is True
    assert decided["random_64kb", ">= 5x requests.Session"] is None


@pytest.fixture
def connection(bench, tmp_path):
    bench["servers"].build()
    catalog = bench["data"].make(tmp_path / "data", 0.001)
    with bench["servers"].PageServer(catalog) as server:
        target = server.target
        with socket.create_connection((target.hosts[0], target.port)) as connection:
            connection.settimeout(10)
            yield connection, Path(catalog.root) / "raw.bin", bench["clients.base"].PageClient(target).file_id("raw.bin")


def ask(connection, target):
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    with connection.makefile("rb") as answer:
        status = answer.readline()
        if not status:
            return None
        length = 0
        while (line := answer.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status.split()[1], answer.read(length)


@pytest.mark.parametrize(
    ("query", "start", "stop"),
    [
        ("", 0, 1 << 20),
        ("?length=10", 0, 1 << 20),  # a length without an offset is ignored
        ("?offset=100", 100, 1 << 20),
        ("?offset=100&length=10", 100, 110),
        ("?offset=1048570&length=100", (1 << 20) - 6, 1 << 20),
        ("?offset=1048576&length=1", 0, 0),
    ],
)
def test_page_server_answers_pages_as_workers_do(connection, query, start, stop):
    stream, path, file_id = connection
    page = path.read_bytes()[1 << 20 : 2 << 20]
    assert ask(stream, f"/v1/file/{file_id}/page/1{query}") == (b"200", page[start:stop])


@pytest.mark.parametrize("target", ["/page/100000", "/page/x", "/page/0?offset=1048577&length=1"])
def test_page_server_closes_on_what_it_cannot_serve(connection, target):
    stream, _, file_id = connection
    assert ask(stream, f"/v1/file/{file_id}{target}") is None
