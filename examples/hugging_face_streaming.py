"""Hugging Face datasets: streaming from `alluxio://bucket/key` URLs (moto plays S3)."""

from __future__ import annotations

import logging
import os
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
import s3fs

try:
    from moto.server import ThreadedMotoServer
except ImportError:
    raise SystemExit("skipped: moto plays S3 here, and is not installed (pip install 'moto[server]')") from None

from alluxio_arrow.testing import MiniCluster


def main() -> None:
    """Write four files to a bucket, load them, stream their rows."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "my-key", "secret": "my-secret", "endpoint_url": f"http://{host}:{port}"}
    store = s3fs.S3FileSystem(**options)
    store.mkdir("corpus")
    for part in range(4):
        table = pa.table({"n": range(part * 1000, (part + 1) * 1000), "text": [f"row {index}" for index in range(1000)]})
        pq.write_table(table, f"corpus/{part}.parquet", filesystem=store)

    with tempfile.TemporaryDirectory() as home, MiniCluster("s3://corpus", ufs_options=options) as cluster:
        os.environ |= {"HF_HOME": home, "HF_HUB_OFFLINE": "1"}
        # Not before the environment says where its cache may be.
        from datasets import load_dataset

        cluster.load("s3://corpus")
        rows = load_dataset(
            "parquet",
            data_files={"train": "alluxio://corpus/*.parquet"},
            split="train",
            streaming=True,
            storage_options={"etcd_hosts": cluster.etcd_hosts, "target_protocol": "s3", "target_options": options},
        )
        assert [row["n"] for row in rows] == list(range(4000))
        pages = cluster.stats()["pages"]
        assert pages > 0
        print(f"streamed 4000 rows; {pages} pages came from the workers")
    server.stop()


if __name__ == "__main__":
    main()
