"""Every command against the embedded cluster: what it prints, as a table and as JSON, and how it ends."""

from __future__ import annotations

import hashlib

import pytest

PAGE = 1 << 20


def test_workers(connected, cluster, files_root):
    shown = connected("workers", "--json")
    assert shown.code == 0
    workers = shown.json["workers"]
    assert {worker["address"] for worker in workers} == {worker.address for worker in cluster.workers}
    assert {worker["identity"] for worker in workers} == {str(worker.identity) for worker in cluster.workers}
    assert sum(worker["share"] for worker in workers) == pytest.approx(1, abs=1e-5)
    assert all(worker["healthy"] and worker["problem"] == "" and worker["round_trip_s"] > 0 for worker in workers)
    assert {worker["page_size"] for worker in workers} <= {PAGE, None}
    assert shown.json["virtual_nodes"] == 5
    owner = cluster.owner(str(files_root / "hot/several.bin")).address
    by_path = connected("workers", files_root / "hot/several.bin", "--json").json["workers"]
    assert {worker["address"]: worker["page_size"] for worker in by_path}[owner] == PAGE
    table = connected("workers")
    assert table.code == 0
    assert all(worker.address in table.out and str(worker.identity) in table.out for worker in cluster.workers)
    assert "\t" not in table.out
    assert "\x1b" not in table.out


def test_where(connected, cluster, files_root):
    shown = connected("where", "-R", files_root, "--json")
    assert shown.code == 0
    found = {entry["path"].removeprefix(f"{files_root}/"): entry for entry in shown.json}
    states = {name: entry["state"] for name, entry in found.items() if "hot" in name}
    assert states.pop("hot/empty.bin") == "empty"
    # Names with a backslash have other ids on real servers, so their bytes are not found there.
    assert states.pop("hot/back\\slash.txt") in ("cold", "cached")
    assert set(states.values()) == {"cached"}
    several = found["hot/several.bin"]
    assert several["owner"] == cluster.owner(str(files_root / "hot/several.bin")).address
    assert (several["pages"], several["pages_asked"], several["pages_cached"], several["page_size"]) == (6, 6, 6, PAGE)
    assert found["cold/several.bin"]["state"] == "cold"
    assert found["cold/several.bin"]["pages"] == 5
    table = connected("where", files_root / "hot/several.bin", files_root / "cold/small.bin").out
    assert "6/6" in table
    assert "0/1" in table


def test_where_asks_for_a_sample_of_large_files(connected, files_root, monkeypatch):
    from alluxio_arrow.cli import cluster as commands

    monkeypatch.setattr(commands, "_PAGES", 3)
    path = files_root / "hot/several.bin"
    entry = connected("where", path, "--json").json[0]
    assert (entry["pages"], entry["pages_asked"], entry["pages_cached"], entry["state"]) == (6, 3, 3, "cached")
    assert "~100% of 6" in connected("where", path).out
    assert "6/6" in connected("where", path, "--all").out


def test_where_with_replicas(connected, files_root):
    entry = connected("where", files_root / "hot/several.bin", "--replicas", "3", "--json").json[0]
    assert [replica["pages_cached"] for replica in entry["replicas"]] == [0, 0]
    assert "REPLICAS" in connected("where", files_root / "hot/several.bin", "--replicas", "2").out


def test_ls(connected, files_root):
    assert connected("ls", files_root).out == "cold/\nhot/\n"
    assert connected("ls").out == "cold/\nhot/\n", "the root of the cluster is where one begins"
    assert connected("ls", files_root / "cold/small.bin").out == f"{files_root}/cold/small.bin\n"
    entries = connected("ls", "-R", files_root, "--json").json
    assert {entry["path"]: entry["size"] for entry in entries if entry["type"] == "file"} == {
        str(path): path.stat().st_size for path in files_root.rglob("*") if path.is_file()
    }
    assert all(entry["modified"].endswith("Z") for entry in entries)
    long = connected("ls", "-l", files_root / "cold").out.splitlines()
    assert [line.split()[-1] for line in long] == ["NAME", "several.bin", "small.bin"]
    assert "4.2 KiB" in long[2]


def test_info(connected, cluster, files_root):
    path = files_root / "hot/several.bin"
    entry = connected("info", path, "--json").json[0]
    assert (entry["type"], entry["size"], entry["canonical"]) == ("file", path.stat().st_size, f"file://{path}")
    assert entry["file_id"] == hashlib.sha256(f"file://{path}".encode()).hexdigest()
    assert entry["owner"] == cluster.owner(str(path)).address
    shown = connected("info", path, files_root / "hot/sub/deep/中文.txt").out
    assert f"{path.stat().st_size:,} bytes" in shown
    assert "no: workers cannot be asked about this name" in shown


def test_cat_and_head(connected_bytes, files_root):
    for name in ("hot/several.bin", "cold/several.bin", "hot/empty.bin", "hot/dt=2024-01-01/x y+&%41#.bin"):
        path = files_root / name
        assert connected_bytes("cat", path) == path.read_bytes()
    path = files_root / "hot/several.bin"
    assert connected_bytes("head", "-c", "100KB", path) == path.read_bytes()[: 100 << 10]
    with path.open("rb") as file:
        lines = [file.readline() for _ in range(12)]
    assert connected_bytes("head", "-n", "3", path) == b"".join(lines[:3])
    small = files_root / "cold/small.bin"
    both = connected_bytes("head", "-n", "1", path, small)
    assert both.startswith(f"==> {path} <==\n".encode() + lines[0] + f"==> {small} <==\n".encode())
    assert connected_bytes("head", path) == b"".join(lines[:10])


def test_du(connected, files_root):
    sizes = {
        directory: sum(path.stat().st_size for path in (files_root / directory).rglob("*") if path.is_file())
        for directory in ("hot", "cold", "hot/sub", "hot/sub/deep", "hot/dt=2024-01-01", "")
    }
    entries = connected("du", files_root, "--depth", "2", "--json").json
    found = {entry["path"].removeprefix(str(files_root)).strip("/"): entry["size"] for entry in entries}
    del sizes["hot/sub/deep"]
    assert found == sizes
    assert entries[-1]["path"] == str(files_root)
    assert entries[-1]["files"] == 11
    assert len(connected("du").out.splitlines()) == 2


def test_bench(connected, files_root):
    shown = connected("bench", files_root / "hot/several.bin", "--rounds", "1", "--json")
    assert shown.code == 0
    cache, store = shown.json["measured"]
    size = (files_root / "hot/several.bin").stat().st_size
    assert (cache["source"], cache["bytes_cache"], cache["bytes_ufs"]) == ("cache", size, 0)
    assert (store["source"], store["bytes_ufs"]) == ("under store", size)
    assert cache["requests"] >= 6
    table = connected("bench", files_root / "cold/several.bin", "--rounds", "1", "--max-bytes", "2MB")
    assert "100% of the bytes came from the under store" in table.out
    assert "alluxio-arrow load --wait" in table.out
    assert connected("bench", files_root).code == 2
    assert connected("bench", files_root / "hot/empty.bin").code == 2


def test_what_bounds_reading():
    from alluxio_arrow.cli.bench import Measured, verdict

    def said(**changed):
        figures = {"bytes": 1 << 30, "scan_s": 10.0, "cpu_s": 1.0, "random_s": 0.01, "bytes_cache": 1 << 30, "requests": 1000}
        way = Measured("cache", **{**figures, **changed})
        return verdict([way], round_trip_s=0.001, window=8, path="/x y", is_local=False)

    assert said()[0].startswith("bound by what one worker and the network")
    assert said(cpu_s=9.0)[0].startswith("bound by this process's CPU (90%")
    assert said(requests=60_000)[0].startswith("bound by the time requests take")
    assert "load --wait '/x y'" in said(bytes_ufs=1 << 30, bytes_cache=0)[0]
    store = Measured("under store", 1 << 30, 40.0, 1.0, 0.5)
    cache = Measured("cache", 1 << 30, 10.0, 1.0, 1.0)
    text = verdict([cache, store], round_trip_s=None, window=8, path="x", is_local=False)[-1]
    assert "4.0 times faster in order and 2.0 times slower at random places" in text


def test_a_store_with_buckets(run, s3, s3_options, monkeypatch):
    from alluxio_arrow.testing import MiniCluster

    s3.mkdir("cli-lake")
    content = bytes(range(256)) * 10_000
    s3.pipe("cli-lake/a/x.bin", content)
    s3.pipe("cli-lake/y.txt", b"one\ntwo\n")
    with MiniCluster("s3://cli-lake", workers=2, ufs_options=s3_options) as cluster:
        monkeypatch.setenv("ALLUXIO_ARROW_ETCD_HOSTS", cluster.etcd_hosts)
        monkeypatch.setenv("MY_SECRET", s3_options["secret"])
        options = ["--target-protocol", "s3", "--ufs-root", "s3://cli-lake", "--target-option", "secret=@env:MY_SECRET"]
        for name in ("key", "endpoint_url"):
            options += ["--target-option", f"{name}={s3_options[name]}"]
        assert run(*options, "ls").out == "a/\ny.txt\n"
        assert run(*options, "ls", "-R", "s3://cli-lake").out == "cli-lake/a/\ncli-lake/a/x.bin\ncli-lake/y.txt\n"
        assert run(*options, "head", "-n", "1", "alluxio://cli-lake/y.txt").out == "one\n"
        assert run(*options, "load", "--wait", "s3://cli-lake/a").code == 0
        states = {entry["path"]: entry["state"] for entry in run(*options, "where", "-R", "s3://cli-lake", "--json").json}
        assert states == {"cli-lake/a/x.bin": "cached", "cli-lake/y.txt": "cold"}
        entries = run(*options, "du", "-d", "1", "--json").json
        assert [(entry["path"], entry["size"]) for entry in entries] == [
            ("cli-lake/a", len(content)),
            ("cli-lake", len(content) + 8),
        ]
        shown = run(*options, "doctor")
        assert shown.code == 0
        assert "ok    under store: s3: s3://cli-lake was listed and read" in shown.out
        assert s3_options["secret"] not in shown.out
        wrong = run(*options, "--target-option", "secret=hunter2-wrong", "doctor", "s3://cli-nowhere", "--debug")
        assert "hunter2-wrong" not in wrong.out + wrong.err
