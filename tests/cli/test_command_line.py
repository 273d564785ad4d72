"""The line itself: options and where they may stand, errors, exit codes, secrets, terminals and pipes."""

from __future__ import annotations

import importlib.metadata
import os
import pty
import re
import subprocess
import sys

import pytest

from alluxio_arrow.cli.output import Column, cut, display_width, fit, human_size, human_time, visible
from alluxio_arrow.cli.parser import _subparsers, make_parser
from alluxio_arrow.config import OPTIONS
from alluxio_arrow.testing.etcd import free_port

from .conftest import connection

SECRET = "hunter2-is-no-password"


# -- options and errors --------------------------------------------------------------------------------------------------------


def test_every_option_is_a_flag():
    flags = make_parser(shows_all=True).format_help()
    for option in OPTIONS:
        if option.name not in ("fs", "trace", "target_options"):
            assert re.search(rf"\n  --{option.name.replace('_', '-')}[ ,]", flags), option.name
    assert "--no-fallback" in flags
    assert "--target-option " in flags


@pytest.mark.parametrize("is_before", [True, False])
def test_options_before_and_after_the_command(run, cluster, files_root, is_before):
    options = ["--etcd-hosts", cluster.etcd_hosts, "--target-protocol", "file", "--json"]
    command = ["ls", files_root]
    shown = run(*options, *command) if is_before else run(*command, *options)
    assert [entry["path"] for entry in shown.json] == [f"{files_root}/cold", f"{files_root}/hot"]


def test_repeated_options_on_both_sides_are_all_taken(run, cluster, files_root):
    shown = run(
        "--target-option", "auto_mkdir=false", "--etcd-hosts", cluster.etcd_hosts,
        "ls", files_root, "--target-protocol", "file", "--target-option", "no_such_option.x=1",
    )  # fmt: skip
    assert shown.code == 0
    both = make_parser().parse_args(["--target-option", "a=1", "ls", "--target-option", "b=2"])
    assert (both.target_option, both.target_option_after) == (["a=1"], ["b=2"])


def test_a_properties_file(run, cluster, files_root, tmp_path):
    site = tmp_path / "alluxio-site.properties"
    site.write_text(f"alluxio.etcd.endpoints=http://{cluster.etcd_hosts}\nalluxio.dora.client.ufs.root={cluster.ufs_root}\n")
    assert run("--config", site, "ls").out == "cold/\nhot/\n"
    missing = run("--config", tmp_path / "none", "ls")
    assert missing.code == 2
    assert "cannot be read" in missing.err


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ([], 2, "a command is needed"),
        (["wrkers"], 2, "did you mean 'workers'?"),
        (["workers", "--jsn"], 2, "unknown option --jsn; did you mean --json?"),
        (["workers", "-x"], 2, "takes no -x"),
        (["stop"], 2, "required: PATH"),
        (["workers"], 2, "exactly one of etcd_hosts"),
        (["workers", "--etcd-hosts", "h", "--window", "many"], 2, "must be a number"),
        (["ls", "x", "--etcd-hosts", "h"], 2, "has no scheme"),
        (["ls", "--etcd-hosts", "h"], 2, "a PATH is needed"),
        (["head", "-n", "-1", "x"], 2, "at least 0"),
        (["ls", "s3://b/x", "--etcd-hosts", "h", "--target-protocol", "file"], 2, "belongs to another store"),
    ],
)
def test_wrong_lines(run, line, code, words):
    shown = run(*line)
    assert (shown.code, shown.out) == (code, "")
    assert words in shown.err
    assert shown.err.startswith("alluxio-arrow: error: ")
    assert shown.err.count("\n") == 1


def test_missing_files_and_clusters(connected, files_root, monkeypatch):
    for command in ("ls", "info", "cat", "head", "du", "where", "bench"):
        shown = connected(command, files_root / "missing")
        assert (shown.code, shown.out) == (3, ""), command
        assert shown.err == f"alluxio-arrow: error: {files_root}/missing: No such file or directory\n"
    assert connected("cat", files_root / "hot").code == 1
    monkeypatch.setenv("ALLUXIO_ARROW_ETCD_HOSTS", f"127.0.0.1:{free_port()}")
    shown = connected("workers", "--etcd-timeout-s", "1")
    assert shown.code == 4
    assert "no ETCD endpoint" in shown.err
    monkeypatch.delenv("ALLUXIO_ARROW_ETCD_HOSTS")
    monkeypatch.delenv("ALLUXIO_ARROW_TARGET_PROTOCOL")
    shown = connected("cat", files_root / "hot/small.bin", "--worker-hosts", f"127.0.0.1:{free_port()}")
    assert shown.code == 4


def test_debug_gives_the_traceback(connected, files_root):
    shown = connected("--debug", "cat", files_root / "missing")
    assert shown.code == 3
    assert "Traceback" in shown.err
    assert "FileNotFoundError" in shown.err
    assert shown.err.endswith("No such file or directory\n")


def test_help_and_version(run):
    shown = run("--help").out
    assert "exit codes:" in shown
    assert "goes with --etcd-cert-key" in " ".join(shown.split())
    version = importlib.metadata.version("alluxio_arrow")
    assert run("--version").out == f"alluxio-arrow {version}\n"
    for command in _subparsers(make_parser()).choices:
        shown = run(command, "--help")
        assert (shown.code, shown.err) == (0, "")
        assert "--etcd-hosts HOSTS" not in shown.out, "listed once, in the main help"


def test_completion(run, monkeypatch):
    pytest.importorskip("shtab")
    script = run("--print-completion", "bash")
    assert script.code == 0
    assert "minicluster" in script.out
    checked = subprocess.run(["bash", "-n"], input=script.out, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    monkeypatch.setitem(sys.modules, "shtab", None)
    missing = run("--print-completion", "bash")
    assert missing.code == 2
    assert "pip install 'alluxio_arrow[cli]'" in missing.err


# -- secrets -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        ["workers", "--etcd-pasword", SECRET],
        ["--etcd-pasword", SECRET, "workers"],
        ["--etcd-pasword=" + SECRET, "workers"],
        ["--etcd-password=", SECRET, "workers"],
        ["--etcd-password", SECRET, "workers"],
        ["workers", "-p" + SECRET, "--etcd-hosts", "h"],
        ["workers", SECRET, SECRET],
        ["--etcd-password", SECRET, "--etcd-hosts", "h", "workers"],
        ["--etcd-username", "u", "--etcd-password", SECRET, "--etcd-hosts", "127.0.0.1:1", "--etcd-timeout-s", "1", "workers"],
        ["--etcd-hosts", f"http://user:{SECRET}@etcd:2379", "workers"],
        ["--target-option", SECRET, "--etcd-hosts", "h", "workers"],
        ["--target-option", "secret={" + SECRET, "--etcd-hosts", "h", "workers"],
        ["--target-option", f"secret={SECRET}", "--etcd-hosts", "h", "ls", "x"],
        ["--target-option", f"secret={SECRET}", "--target-protocol", SECRET, "--etcd-hosts", "h", "ls", "x"],
        ["--target-option", "secret=@env:NONE", "--target-protocol", "s3", "--etcd-hosts", "h", "ls", "x"],
        ["--target-option", "secret=@file:/none", "--target-protocol", "s3", "--etcd-hosts", "h", "ls", "x"],
    ],
)
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_secrets_are_not_echoed(run, line, debug):
    shown = run(*debug, *line)
    assert shown.code in (2, 4)
    assert SECRET not in shown.out + shown.err
    assert "error: " in shown.err


def test_a_password_of_the_environment_is_not_echoed(run, monkeypatch):
    monkeypatch.setenv("ALLUXIO_ARROW_ETCD_PASSWORD", SECRET)
    monkeypatch.setenv("ALLUXIO_ARROW_CLUSTER_NAME", f"of-{SECRET}")
    monkeypatch.setenv("ALLUXIO_ARROW_ETCD_USERNAME", "user")
    shown = run("workers", "--etcd-hosts", "127.0.0.1:1", "--etcd-timeout-s", "1", "--debug")
    assert shown.code == 4
    assert SECRET not in shown.out + shown.err
    assert "of-***" in shown.err


def test_options_of_the_under_store(run, cluster, files_root, monkeypatch, tmp_path):
    from alluxio_arrow.cli.options import settings_of
    from alluxio_arrow.cli.parser import parse
    from alluxio_arrow.cli.secrets import Secrets

    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("MY_SECRET", "from the environment")
    options = [
        "secret=@env:MY_SECRET", f"token=@file:{tmp_path}/token", "anon=false", "client_kwargs.region_name=eu",
        'config_kwargs={"retries": 1}', "key=12345", "endpoint_url=http://host:1",
    ]  # fmt: skip
    words = [word for option in options for word in ("--target-option", option)]
    secrets = Secrets()
    settings = settings_of(parse(["--etcd-hosts", "h", "--target-protocol", "s3", *words, "ls"]), secrets)
    assert dict(settings.target_options) == {
        "secret": "from the environment",
        "token": "from a file",
        "anon": False,
        "client_kwargs": {"region_name": "eu"},
        "config_kwargs": {"retries": 1},
        "key": "12345",
        "endpoint_url": "http://host:1",
    }
    assert secrets.hide("12345 from a file, from the environment, at http://host:1") == "*** ***, ***, at http://host:1"


# -- terminals and pipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal(connected, files_root, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for line in (["workers"], ["where", "-R", files_root], ["ls", "-l", files_root], ["du", files_root], ["doctor"]):
        shown = connected(*line)
        assert shown.code == 0
        assert max(map(display_width, shown.out.splitlines())) <= width, line
    rows = connected("where", "-R", files_root).out.splitlines()
    assert len(rows) == 12, "one line per row, whatever its width"
    assert any("…" in row for row in rows)


def test_a_pipe_has_no_width(connected, files_root):
    shown = connected("where", "-R", files_root)
    assert f"{files_root}/hot/several.bin" in shown.out
    assert "…" not in shown.out
    assert all(line == line.rstrip() for line in shown.out.splitlines())


def on_terminal(argv, env, columns=80):
    """Run the program on a pseudo terminal, and give its exit code and what was shown."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "alluxio_arrow", *map(str, argv)],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", **env},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux's way to say that nobody has the other side open any more.
            break
        if not data:
            break
        shown += data
    os.close(ours)
    return process.wait(60), shown.decode()


def test_colour_only_on_a_terminal_and_unless_refused(cluster, files_root):
    env = connection(cluster)
    code, shown = on_terminal(["ls", files_root], env)
    assert code == 0
    assert shown == "\x1b[1mcold/\x1b[0m\r\n\x1b[1mhot/\x1b[0m\r\n"
    code, shown = on_terminal(["ls", files_root], {**env, "NO_COLOR": "1"})
    assert (code, shown) == (0, "cold/\r\nhot/\r\n")
    code, shown = on_terminal(["where", files_root / "hot"], {**env, "NO_COLOR": "1"}, columns=50)
    assert max(map(display_width, shown.splitlines())) <= 50


def test_a_progress_bar_on_a_terminal_only(own, tmp_path_factory):
    env = connection(own)
    code, shown = on_terminal(["load", "--wait", own.root], env)
    assert code == 0
    assert "\r\x1b[K" in shown
    assert "succeeded" in shown


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A cluster whose jobs take their time."""
    from alluxio_arrow.testing import MiniCluster

    root = tmp_path_factory.mktemp("slow")
    for index in range(4):
        (root / f"{index}.bin").write_bytes(bytes(1000))
    with MiniCluster(root, workers=1, load_delay_s=0.5) as cluster:
        cluster.root = root
        yield cluster


def test_python_m_and_a_closed_pipe(cluster, files_root, start):
    program = start("cat", files_root / "hot/several.bin", files_root / "cold/several.bin", env=connection(cluster))
    assert program.stdout.read(1000) == (files_root / "hot/several.bin").read_bytes()[:1000]
    program.stdout.close()
    assert program.wait(60) == 141
    assert program.stderr.read() == b""
    program.stderr.close()
    program.stdout = program.stderr = None


def test_a_table_into_a_closed_pipe(cluster, files_root):
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "alluxio_arrow", "ls", "-R", str(files_root)],
        env={**os.environ, **connection(cluster)}, stdout=writes, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk(cluster, files_root):
    for line in (["ls", "-R", files_root], ["cat", files_root / "hot/several.bin"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "alluxio_arrow", *map(str, line)],
                env={**os.environ, **connection(cluster)}, stdout=full, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "No space left on device" in done.stderr


def test_an_encoding_that_lacks_characters(cluster, files_root):
    env = {**os.environ, **connection(cluster), "PYTHONIOENCODING": "ascii", "COLUMNS": "40"}
    done = subprocess.run(
        [sys.executable, "-m", "alluxio_arrow", "where", "-R", str(files_root)], env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "~" in done.stdout


# -- forms ---------------------------------------------------------------------------------------------------------------------


def test_widths():
    columns = [Column("A", minimum=5), Column("B"), Column("C", minimum=8)]
    assert fit([30, 4, 20], columns, None) == [30, 4, 20]
    assert fit([30, 4, 20], columns, 40) == [16, 4, 16]
    assert fit([30, 4, 20], columns, 10) == [5, 4, 8]
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcdef", 4, keep_end=True) == "…def"
    assert cut("abc", 3) == "abc"
    assert cut("中文字", 4) == "中…"
    assert cut("abc", 0) == ""
    assert (display_width("中文"), display_width("e\u0301"), display_width("x")) == (4, 1, 1)
    assert visible("a\nb\x1b[31m c") == "a\\nb\\x1b[31m c"


def test_sizes_and_times():
    sizes = {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10_189: "10 KiB", 1 << 20: "1.0 MiB", 1023 * 1024: "1.0 MiB"}
    assert {size: human_size(size) for size in sizes} == sizes
    assert (human_size(5 << 50), human_size(3 << 60)) == ("5.0 PiB", "3072 PiB")
    times = {0.0003: "0.30 ms", 0.05: "50 ms", 1.25: "1.2 s", 75: "1:15 min", 7509: "2:05:09"}
    assert {time: human_time(time) for time in times} == times
