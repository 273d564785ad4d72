"""S3 as the under store: key, secret, token and endpoint_url, or anon for public buckets.

With an S3 store and a cluster of your own, pass your own values; here, both are embedded (moto plays S3).
"""

from __future__ import annotations

import logging
import os

import pyarrow as pa
import pyarrow.parquet as pq
import s3fs

try:
    from moto.server import ThreadedMotoServer
except ImportError:
    raise SystemExit("skipped: moto plays S3 here, and is not installed (pip install 'moto[server]')") from None

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Read one table with credentials, through pyarrow and through fsspec, and one without."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    credentials = {"key": "my-key", "secret": "my-secret", "token": "my-token", "endpoint_url": f"http://{host}:{port}"}
    store = s3fs.S3FileSystem(**credentials)
    store.mkdir("lake", acl="public-read")
    table = pa.table({"n": range(10_000)})
    pq.write_table(table, "lake/table.parquet", filesystem=store)
    store.chmod("lake/table.parquet", acl="public-read")

    with MiniCluster("s3://lake", ufs_options=credentials) as cluster:
        cluster.load("s3://lake/table.parquet")
        # Keys and secrets are never shown by repr, logs, errors or stats.
        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="s3", target_options=credentials)
        assert pq.read_table("s3://lake/table.parquet", filesystem=fs).equals(table)
        stats = fs.handler.stats()
        assert stats.pages_cache > 0
        print(f"pyarrow with credentials: {stats.bytes_cache} bytes from the cache, {stats.bytes_ufs} bytes from S3")

        adapter = alluxio_arrow.AlluxioFileSystem(
            etcd_hosts=cluster.etcd_hosts, target_protocol="s3", target_options=credentials
        )
        # What is not in the cache comes from S3 itself, by the same credentials.
        cold = table.slice(5_000)
        pq.write_table(cold, "lake/cold.parquet", filesystem=store)
        assert pq.read_table("lake/cold.parquet", filesystem=adapter).equals(cold)
        assert adapter.handler.stats().bytes_ufs > 0
        print(f"fsspec: {adapter.ls('lake', detail=False)}, the cold one from S3")

        public = {"anon": True, "endpoint_url": credentials["endpoint_url"]}
        anonymous = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="s3", target_options=public)
        assert pq.read_table("lake/table.parquet", filesystem=anonymous).equals(table)
        assert anonymous.handler.stats().pages_cache > 0
        print("anonymous: equal, from the cache")
    server.stop()


if __name__ == "__main__":
    main()
