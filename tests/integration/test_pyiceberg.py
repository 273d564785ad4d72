"""PyIceberg's `FileIO` over the cluster."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from alluxio_arrow.testing import MiniCluster

pytestmark = pytest.mark.filterwarnings("ignore")  # PyIceberg's and SQLAlchemy's own


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    from pyiceberg.catalog.sql import SqlCatalog

    root = tmp_path_factory.mktemp("iceberg")
    with MiniCluster(root, workers=1) as cluster:
        catalog = SqlCatalog(
            "test",
            uri=f"sqlite:///{tmp_path_factory.mktemp('state')}/catalog.db",
            warehouse=f"file://{root}",
            **{
                "py-io-impl": "alluxio_arrow.pyiceberg.AlluxioFileIO",
                "alluxio-arrow.etcd-hosts": cluster.etcd_hosts,
                "alluxio-arrow.target-protocol": "file",
                "alluxio-arrow.target-options.auto_mkdir": "true",
            },
        )
        catalog.create_namespace("db")
        yield catalog
        catalog.close()


def test_a_table_is_made_where_no_directory_was(catalog):
    table = catalog.create_table("db.made", schema=pa.schema([("n", pa.int64())]))
    table.append(pa.table({"n": [1, 2]}))
    table.append(pa.table({"n": [3]}))
    table.delete("n = 2")
    assert sorted(catalog.load_table("db.made").scan().to_arrow()["n"].to_pylist()) == [1, 3]


def test_tables_share_one_client(catalog):
    before = set(threading.enumerate())
    catalog.create_table("db.shared", schema=pa.schema([("n", pa.int64())])).append(pa.table({"n": [1]}))
    tables = [catalog.load_table("db.shared") for _ in range(5)]
    assert all(table.scan().to_arrow().num_rows == 1 for table in tables)
    handlers = {id(table.io.fs_by_scheme("file", "").handler) for table in tables}
    assert len(handlers) == 1
    assert sum(thread.name == "alluxio-arrow-etcd" for thread in set(threading.enumerate()) - before) <= 1


def test_settings_come_from_properties(catalog):
    settings = catalog.load_table("db.made").io.fs_by_scheme("file", "").handler.settings
    assert dict(settings.target_options) == {"auto_mkdir": "true"}
    from alluxio_arrow import ConfigError
    from alluxio_arrow.pyiceberg import AlluxioFileIO

    with pytest.raises(ConfigError, match="etcd_hosts"):
        AlluxioFileIO({"alluxio-arrow.etcd-host": "h"}).fs_by_scheme("s3", "bucket")
