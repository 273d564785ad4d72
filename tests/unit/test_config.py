"""Arguments, properties and environment make one validated value, or an error that names the culprit."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from alluxio_arrow.config import OPTIONS, make_settings
from alluxio_arrow.errors import ConfigError
from alluxio_arrow.ring import WorkerAddress

SECRET = "s3cr3t-value"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("ALLUXIO_ARROW_"):
            monkeypatch.delenv(name)


def test_hosts_in_all_their_forms():
    expected = (("h1", 1), ("h2", 2379), ("::1", 5))
    assert make_settings("h1:1, http://h2/,[::1]:5").etcd_endpoints == expected
    assert make_settings(["h1:1", "h2", "[::1]:5"]).etcd_endpoints == expected
    assert make_settings("h", etcd_port=9).etcd_endpoints == (("h", 9),)
    assert (
        make_settings(options={"alluxio.etcd.endpoints": "http://h1:1,http://h2:2379,http://[::1]:5"}).etcd_endpoints
        == expected
    )
    workers = make_settings(worker_hosts="w1:81,w2", worker_http_port=82).worker_hosts
    assert workers == (WorkerAddress("w1", 81), WorkerAddress("w2", 82))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"etcd_hots": "h"}, "'etcd_hots'; did you mean 'etcd_hosts'"),
        ({"etcd_hosts": "h", "concurency": 3}, "did you mean 'concurrency'"),
        ({"etcd_hosts": "h", "logger": 1}, "logging"),
        ({"etcd_hosts": "h", "use_mem_cache": True}, "use_mem_cache"),
        ({}, "exactly one of etcd_hosts"),
        ({"etcd_hosts": "h", "worker_hosts": "w"}, "both are given"),
        ({"etcd_hosts": "h", "concurrency": 0}, "concurrency: must be between 1 and 1024, not 0"),
        ({"etcd_hosts": "h", "concurrency": "many"}, "concurrency: must be a number, not 'many'"),
        ({"etcd_hosts": "h", "window": 2.5}, "window"),
        ({"etcd_hosts": "h", "page_size": "1 parsec"}, "page_size"),
        ({"etcd_hosts": "h:port"}, "port of 'h:port'"),
        ({"etcd_hosts": "https://h"}, "etcd_ca_cert"),
        ({"worker_hosts": "https://h"}, "http"),
        ({"etcd_hosts": "h", "etcd_username": "u"}, "etcd_username and etcd_password"),
        ({"etcd_hosts": "h", "etcd_cert_key": "k"}, "etcd_cert_cert and etcd_cert_key"),
        ({"etcd_hosts": "h", "target_options": {"key": SECRET}}, "target_protocol"),
        ({"etcd_hosts": "h", "target_options": SECRET, "target_protocol": "s3"}, "target_options: must be a dict"),
        ({"etcd_hosts": "h", "options": {"alluxio.worker.page.store.pagesize": "1MB"}}, "alluxio.worker.page.store.page.size"),
        (
            {"etcd_hosts": "h", "options": {"alluxio.worker.page.store.page.size": "big"}},
            "alluxio.worker.page.store.page.size: 'big'",
        ),
        ({"etcd_hosts": "h", "options": {"alluxio.user.worker.selection.policy": "MAGLEV"}}, "MAGLEV"),
        ({"etcd_hosts": "h", "options": {"alluxio.user.dynamic.consistent.hash.ring.enabled": "false"}}, "ring.enabled=false"),
        (
            {"etcd_hosts": "h", "page_size": "2MB", "options": {"alluxio.worker.page.store.page.size": "1MB"}},
            "page_size and the property",
        ),
        ({"etcd_hosts": "h", "options": "/does/not/exist"}, "cannot be read"),
        ({"etcd_hosts": "h", "options": 7}, "options must be"),
    ],
)
def test_refusals_name_the_culprit(arguments, message):
    with pytest.raises(ConfigError) as caught:
        make_settings(**arguments)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_properties_are_read():
    settings = make_settings(
        "h",
        options={
            "alluxio.worker.page.store.page.size": "4MB",
            "alluxio.user.consistent.hash.virtual.node.count.per.worker": "7",
            "alluxio.cluster.name": "c",
            "alluxio.user.worker.list.refresh.interval": "2min",
            "alluxio.dora.client.ufs.fallback.enabled": "FALSE",
            "alluxio.user.file.replication.min": 0,
            "alluxio.user.worker.selection.policy": "CONSISTENT",
        },
    )
    assert (settings.page_size, settings.virtual_nodes, settings.cluster_name) == (4 << 20, 7, "c")
    assert (settings.etcd_refresh_workers_interval, settings.fallback, settings.replicas) == (120, False, 1)


def test_the_long_virtual_node_key_wins():
    options = {
        "alluxio.user.consistent.hash.virtual.node.count.per.worker": "7",
        "alluxio.user.worker.selection.policy.consistent.hash.virtual.node.count.per.worker": "9",
    }
    assert make_settings("h", options=options).virtual_nodes == 9


def test_a_clusters_own_file(tmp_path):
    path = tmp_path / "alluxio-site.properties"
    path.write_text(
        "alluxio.master.hostname=m\nalluxio.etcd.endpoints=http://e1:1,http://e2:2\nalluxio.dora.client.ufs.root=s3://lake\n"
        "alluxio.worker.page.store.page.size=2MB\n"
    )
    settings = make_settings(options=path)
    assert settings.etcd_endpoints == (("e1", 1), ("e2", 2))
    assert (settings.ufs_root, settings.page_size) == ("s3://lake", 2 << 20)
    path.write_text("alluxio.etcd.endpoint=http://e1:1\n")
    with pytest.raises(ConfigError, match=r"did you mean 'alluxio\.etcd\.endpoints'"):
        make_settings(options=str(path))


def test_the_environment_fills_in(monkeypatch, caplog):
    monkeypatch.setenv("ALLUXIO_ARROW_ETCD_HOSTS", "env:1")
    monkeypatch.setenv("ALLUXIO_ARROW_CONCURRENCY", "9")
    monkeypatch.setenv("ALLUXIO_ARROW_CONCURENCY", "9")
    with caplog.at_level(logging.WARNING, "alluxio_arrow"):
        settings = make_settings(concurrency=8)
    assert settings.etcd_endpoints == (("env", 1),)
    assert settings.concurrency == 8
    assert "ALLUXIO_ARROW_CONCURENCY; did you mean 'concurrency'" in caplog.text
    assert make_settings(worker_hosts="w").etcd_endpoints == ()
    monkeypatch.setenv("ALLUXIO_ARROW_CONCURRENCY", "0")
    with pytest.raises(ConfigError, match="ALLUXIO_ARROW_CONCURRENCY"):
        make_settings()


def test_settings_are_values_that_show_no_secret():
    arguments = {"etcd_username": "u", "etcd_password": SECRET, "target_protocol": "s3", "target_options": {"secret": SECRET}}
    settings = make_settings("h", **arguments)
    same = make_settings(**settings.to_arguments())
    assert same == settings
    assert hash(same) == hash(settings)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings != make_settings("h", **{**arguments, "target_options": {"secret": "other"}})
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.target_options)


def test_the_documentation_has_every_option():
    table = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for option in OPTIONS:
        assert f"| `{option.name}` |" in table
        assert option.meaning in table
        for key in option.properties:
            assert f"`{key}`" in table


def test_importing_does_nothing():
    code = (
        "import sys, threading, alluxio_arrow; print(threading.active_count(), 'pyarrow' in sys.modules, 'grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False", "False"]
    assert done.stderr == ""
