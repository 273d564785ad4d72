"""Installed beside those whose protobuf once kept ETCD away: Ray, OpenTelemetry's OTLP exporter, a current protobuf."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

TOGETHER = """
import google.protobuf
import ray
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1 import trace_pb2
"""
OURS = """
from alluxio_arrow.etcd_protobuf import import_etcd3
etcd3 = import_etcd3()
assert etcd3.etcdrpc.RangeRequest(key=b"k").key == b"k"
import alluxio_arrow
alluxio_arrow.filesystem("127.0.0.1:1", target_protocol="s3")
"""


@pytest.mark.venv
@pytest.mark.timeout(900)
def test_beside_ray_otlp_and_a_current_protobuf(tmp_path):
    """The resolver finds versions for all of them, and they import in either order."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    python = environment / "bin/python"
    wanted = [str(CHECKOUT), "ray", "opentelemetry-exporter-otlp", "protobuf>=5.29"]
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True, timeout=700)
    assert done.returncode == 0, done.stderr
    checked = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout
    for script in (TOGETHER + OURS, OURS + TOGETHER):
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
