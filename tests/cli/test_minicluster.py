"""The embedded cluster from the command line."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_a_signal(start, run, tmp_path, end):
    (tmp_path / "x.bin").write_bytes(bytes(200_000))
    program = start(
        "minicluster", tmp_path, "--workers", "2", "--load", "--page-size", "64KB", "--json", text=True, start_new_session=True
    )
    lines = ""
    while not lines.endswith("}\n"):
        line = program.stdout.readline()
        assert line, program.stderr.read()
        lines += line
    settings = json.loads(lines)
    assert len(settings["workers"]) == 2
    flags = [
        word
        for name in ("etcd_hosts", "target_protocol", "ufs_root")
        for word in (f"--{name.replace('_', '-')}", settings[name])
    ]
    entry = run(*flags, "where", tmp_path, "--json").json[0]
    assert (entry["state"], entry["pages"], entry["page_size"]) == ("cached", 4, 65536)
    # A stopped job must not keep it from ending.
    assert run(*flags, "load", tmp_path).code == 0
    assert run(*flags, "stop", tmp_path).code in (0, 3)
    # To all of its processes, as a terminal does it.
    os.killpg(program.pid, end)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (0, "", "")
    host, _, port = settings["workers"][0].rpartition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0, "the workers ended with it"


def test_the_connection_line(start, run, tmp_path):
    program = start("minicluster", tmp_path, "--workers", "1", "--virtual-nodes", "7", text=True)
    line = ""
    while "alluxio-arrow --" not in line:
        line = program.stdout.readline()
        assert line, program.stderr.read()
    words = line.split()
    assert words[0] == "alluxio-arrow"
    assert words[words.index("--virtual-nodes") :][:2] == ["--virtual-nodes", "7"]
    assert run(*words[1:]).code == 0
    program.send_signal(signal.SIGINT)
    out = program.stdout.read()
    assert program.wait(60) == 0
    assert "export ALLUXIO_ARROW_ETCD_HOSTS=" in out


def test_what_it_does_not_take(run, tmp_path):
    shown = run("minicluster", tmp_path, "--etcd-hosts", "h")
    assert shown.code == 2
    assert "makes a cluster of its own" in shown.err
    assert run("minicluster", tmp_path, "--page-size", "big").code == 2
    assert run("minicluster", tmp_path, "--etcd-username", "u").code == 2
