"""The doctor: finds what is wrong, says what to change, and leaves alone what is well."""

from __future__ import annotations

import pytest

from alluxio_arrow.cli import checks
from alluxio_arrow.cli.placement import judge_placement
from alluxio_arrow.ring import HashRing, WorkerIdentity
from alluxio_arrow.testing import MiniCluster
from alluxio_arrow.testing.etcd import Etcd, free_port

from .conftest import connection


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A cluster with unusual settings, and enough files to tell them by."""
    root = tmp_path_factory.mktemp("doctor")
    for index in range(60):
        (root / f"part-{index:03}.bin").write_bytes(bytes(100 + index * 10_000))
    with MiniCluster(root, workers=4, page_size="64KB", virtual_nodes=50, cluster_name="mine") as cluster:
        cluster.load(str(root))
        yield cluster


@pytest.fixture
def doctor(run, own, monkeypatch):
    for name, value in connection(own).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALLUXIO_ARROW_CLUSTER_NAME", "mine")
    monkeypatch.setenv("ALLUXIO_ARROW_VIRTUAL_NODES", "50")

    def examine(*argv):
        shown = run("doctor", "--json", *argv)
        return shown.code, shown.json

    return examine


def of(findings, check):
    return [finding for finding in findings if finding["check"] == check]


def test_nothing_is_wrong(doctor, run):
    code, findings = doctor()
    assert {finding["level"] for finding in findings} == {"ok"}
    assert code == 0
    assert {finding["check"] for finding in findings} == {
        "versions", "etcd", "workers", "under store", "paths", "page size", "virtual nodes", "clock",
    }  # fmt: skip
    assert "64 KiB" in of(findings, "page size")[0]["detail"]
    text = run("doctor").out
    assert text.count("\nok") == len(findings) - 1
    assert text.endswith(f"nothing is wrong: {len(findings)} fine\n")


@pytest.mark.parametrize("count", [5, 2000, 100])
def test_a_wrong_number_of_virtual_nodes(doctor, count):
    code, findings = doctor("--virtual-nodes", str(count), "--files", "60")
    (finding,) = of(findings, "virtual nodes")
    assert (code, finding["level"]) == (1, "fail")
    assert "50" in finding["detail"].partition(";")[2]
    assert finding["advice"].startswith("set virtual_nodes=50 ")


def test_pages_are_counted_by_the_size_they_have(doctor, own, run, monkeypatch):
    root = own.ufs_root.removeprefix("file://")
    entries = run("where", root, "--json").json
    assert len(entries) == 60
    for entry in entries:
        pages = -(-entry["size"] // 65536)
        assert (entry["pages"], entry["pages_cached"], entry["state"]) == (pages, pages, "cached"), entry


def test_a_wrong_page_size(doctor):
    code, findings = doctor("--page-size", "1MB")
    failed = of(findings, "page size")
    assert code == 1
    assert {finding["level"] for finding in failed} == {"fail"}
    assert "set page_size=65536" in failed[0]["advice"]


def test_a_dead_worker(tmp_path, run, monkeypatch):
    for index in range(20):
        (tmp_path / f"{index}.bin").write_bytes(bytes(1000))
    # With a static list nothing takes the dead worker away meanwhile.
    with MiniCluster(tmp_path, workers=2) as cluster:
        cluster.load(str(tmp_path))
        for name, value in connection(cluster).items():
            monkeypatch.setenv(name, value)
        dead = cluster.workers[0]
        cluster.workers[0].kill()
        hosts = ",".join(worker.address for worker in cluster.workers)
        shown = run("doctor", "--worker-hosts", hosts)
        assert shown.code == 1
        assert f"worker {dead.address} cannot be reached" in shown.out
        assert "is the worker running" in shown.out
        assert "1 of 2 answer" in shown.out
        assert "their places on the ring are made of their host names" in shown.out
        table = run("workers", "--worker-hosts", hosts)
        assert table.code == 1
        assert "down" in table.out
        located = run("where", tmp_path, "--worker-hosts", hosts, "--json").json
        assert {entry["state"] for entry in located if entry["owner"] == dead.address} <= {"down"}


def test_no_etcd(doctor):
    code, findings = doctor("--etcd-hosts", f"127.0.0.1:{free_port()}", "--etcd-timeout-s", "1")
    assert code == 1
    assert {finding["level"] for finding in of(findings, "etcd")} == {"fail"}
    assert of(findings, "workers")[0]["level"] == "skip"
    assert of(findings, "under store")[0]["level"] == "ok"


def test_another_cluster_name(doctor):
    code, findings = doctor("--cluster-name", "theirs")
    assert code == 1
    assert of(findings, "etcd")[1]["advice"] == "set cluster_name; registered there: mine"


def test_something_else_on_the_port(doctor, own):
    code, findings = doctor("--worker-hosts", own.etcd_hosts)
    assert code == 1
    assert "worker_http_port" in of(findings, "workers")[0]["advice"]


def test_another_root_and_no_under_store(doctor, own, tmp_path, monkeypatch):
    (tmp_path / "x.bin").write_bytes(b"x")
    code, findings = doctor(tmp_path)
    assert code == 1
    assert "ufs_root" in of(findings, "paths")[0]["advice"]
    code, findings = doctor(tmp_path / "missing")
    assert "does not exist" in of(findings, "under store")[0]["detail"]
    monkeypatch.delenv("ALLUXIO_ARROW_TARGET_PROTOCOL")
    code, findings = doctor()
    assert code == 0
    assert of(findings, "under store")[0]["level"] == "warn"
    assert of(findings, "virtual nodes")[0]["level"] == "ok"


def test_credentials_of_the_under_store(doctor, own, moto_server, monkeypatch):
    monkeypatch.delenv("ALLUXIO_ARROW_UFS_ROOT")
    options = {"key": "wrong-key-id", "secret": "wrong-secret", "endpoint_url": f"{moto_server}/"}
    words = [word for key, value in options.items() for word in ("--target-option", f"{key}={value}")]
    code, findings = doctor("s3://no-such-bucket/x", "--target-protocol", "s3", *words)
    assert code == 1
    assert of(findings, "under store")[0]["level"] == "fail"
    assert "wrong-secret" not in str(findings)
    assert len(of(findings, "clock")) == 2, "an S3 endpoint tells its time, too"


def test_a_password(run, tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"x")
    with MiniCluster(tmp_path, workers=1, username="reader", password="hunter2-secret") as cluster:
        for name, value in connection(cluster).items():
            monkeypatch.setenv(name, value)
        wrong = run("doctor", "--etcd-username", "reader", "--etcd-password", "hunter2-wrong")
        assert wrong.code == 1
        assert "check etcd_username and etcd_password" in wrong.out
        assert "hunter2" not in wrong.out + wrong.err
        monkeypatch.setenv("ALLUXIO_ARROW_ETCD_USERNAME", "reader")
        monkeypatch.setenv("ALLUXIO_ARROW_ETCD_PASSWORD", "hunter2-secret")
        right = run("doctor")
        assert right.code == 0
        assert "hunter2" not in right.out + right.err


def test_an_etcd_with_tls(run, tmp_path):
    import trustme

    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    paths = {name: str(tmp_path / name) for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    server.cert_chain_pems[0].write_to_path(paths["cert"])
    server.private_key_pem.write_to_path(paths["key"])
    with Etcd(cert_file=paths["cert"], key_file=paths["key"]) as etcd:
        options = ["doctor", "--etcd-hosts", etcd.endpoint, "--etcd-timeout-s", "2"]
        trusted = run(*options, "--etcd-ca-cert", paths["ca"])
        assert f"ok    etcd: {etcd.endpoint} answers, version" in trusted.out
        assert "no cluster is registered at all" in trusted.out
        assert "does it speak TLS? Then set etcd_ca_cert" in run(*options).out
        # Any other certificate that is no authority of this server.
        distrusted = run(*options, "--etcd-ca-cert", other_authority(tmp_path))
        assert "check etcd_ca_cert" in distrusted.out


def other_authority(directory):
    import trustme

    path = str(directory / "other")
    trustme.CA().cert_pem.write_to_path(path)
    return path


def test_clocks(doctor, monkeypatch):
    for offset, level in ((60, "warn"), (-3600, "fail")):
        monkeypatch.setattr(checks, "_skew", lambda date, offset=offset: float(offset))
        _, findings = doctor()
        assert of(findings, "clock")[0]["level"] == level
        assert ("behind" if offset > 0 else "ahead of") in of(findings, "clock")[0]["detail"]


def test_versions(doctor, monkeypatch):
    assert checks._split_requirement("pyarrow>=14") == ("pyarrow", [(">=", "14")])
    assert checks._satisfies("26.0.1", ">=", "14")
    assert not checks._satisfies("0.11.9", "==", "0.12.0")
    assert checks._satisfies("2.0.0rc1", "<", "2.0.1")
    monkeypatch.setattr(checks.metadata, "requires", lambda name: ["pyarrow>=9999", "no-such-thing>=1", "x; extra == 'y'"])
    code, findings = doctor()
    assert code == 1
    assert "pyarrow>=9999 is needed; no-such-thing is missing" in of(findings, "versions")[0]["detail"]


def test_a_check_that_breaks_is_a_finding(doctor, monkeypatch):
    monkeypatch.setattr(checks, "judge_placement", lambda *arguments: 1 // 0)
    code, findings = doctor()
    assert code == 1
    assert "ZeroDivisionError" in of(findings, "virtual nodes")[0]["detail"]
    assert of(findings, "clock")[0]["level"] == "ok"


def test_judging_places():
    workers = [WorkerIdentity.from_host(f"h{index}") for index in range(5)]
    ring = HashRing(workers, 100)
    holders = {f"s3://b/{index}": {ring.candidates(f"s3://b/{index}")[0]} for index in range(200)}
    assert judge_placement(workers, 100, holders).fits
    wrong = judge_placement(workers, 5, holders)
    assert (wrong.fits, wrong.others, wrong.is_certain) == (False, (100,), True)
    # A few files lie elsewhere since a worker was away: still the best explanation.
    for index in range(10):
        holders[f"s3://b/{index}"] = {workers[index % 5]}
    assert judge_placement(workers, 100, holders).fits
    assert 100 in judge_placement(workers, 2000, holders).others
    scattered = {path: {workers[index % 5]} for index, path in enumerate(holders)}
    nothing = judge_placement(workers, 5, scattered)
    assert (nothing.fits, nothing.others) == (False, ())
    assert judge_placement(workers, 5, {"s3://b/x": set()}).files == 0
