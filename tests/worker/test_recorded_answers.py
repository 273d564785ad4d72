"""The embedded worker answers every recorded request as a real worker did."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import socket
import time
from pathlib import Path

import pytest

from alluxio_arrow.testing import MiniCluster

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "worker_http.json").read_text())


def fill_bucket(s3) -> None:
    source = random.Random(7)
    content = {
        "rec/a.bin": source.randbytes(2_500_000),
        "rec/exact.bin": source.randbytes(2 * 1048576),
        "rec/empty.bin": b"",
        "rec/one.bin": b"x",
        "rec/sub/hello.txt": b"hello",
        "rec/sub/sp ace+plus&x=1.txt": b"hello",
        "rec/sub/pct%41.txt": b"pct",
        "rec/sub/中文.txt": "你好".encode(),
        "rec/cold.bin": source.randbytes(1_500_000),
        "hive/dt=2024-01-01/x.bin": b"hive!",
        "hive/dt=2024-01-02/x.bin": b"hive2",
    }
    s3.mkdir("lake")
    for key, body in content.items():
        s3.pipe_file(f"lake/{key}", body)


@pytest.fixture(scope="module")
def lake(s3, s3_options):
    fill_bucket(s3)
    with MiniCluster("s3://lake", ufs_options=s3_options, load_delay_s=0.2) as cluster:
        yield cluster
    s3.rm("lake", recursive=True)


def exchange(address: str, entry: dict) -> tuple[list[str], bytes] | None:
    """Send a recorded request over a raw socket; status line, headers and body, or None for a close without a byte."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        length = entry.get("request_body_bytes")
        head = f"{entry['method']} {entry['target']} HTTP/1.1\r\nHost: {address}\r\n"
        head += f"Content-Length: {length}\r\n" if length is not None else ""
        connection.sendall(head.encode() + b"\r\n" + (b"hello" if length == 5 else b"\0" * (length or 0)))
        received = b""
        try:
            while b"\r\n\r\n" not in received:
                chunk = connection.recv(65536)
                if not chunk:
                    assert not received
                    return None
                received += chunk
            head_bytes, _, body = received.partition(b"\r\n\r\n")
            lines = head_bytes.decode().split("\r\n")
            announced = int(next(line for line in lines if line.startswith("content-length")).split(":")[1])
            while len(body) < announced:
                body += connection.recv(1 << 20)
        except ConnectionResetError:
            return None
        return lines, body


def comparable(body: str) -> object:
    """A JSON body without what belongs to its own run: ids, times, rates, the order of listings."""
    body = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<job>", body)
    body = re.sub(r'"mLastModificationTimeMs":[1-9]\d*', '"mLastModificationTimeMs":1', body)
    body = re.sub(r"Time Elapsed: [\d:]+", "Time Elapsed: t", body)
    body = re.sub(r"(\\n\\tThroughput: [^\\]+)", "", body)
    body = re.sub(r'\\"(mThroughput|mTimeElapsed)\\":\d+,?', "", body).replace(',}","resp', '}","resp')
    value = json.loads(body)
    if isinstance(value, list):
        return sorted(value, key=lambda item: item["mUfsPath"])
    if "respProperties" in value:
        value["respProperties"].pop("Throughput", None)
    return value


RUNNING = {"Inodes Processed", "Bytes Loaded"}


def test_every_recorded_request_is_answered_alike(lake):
    """In the recorded order, with the load job submitted where it was then."""
    differences = []
    for entry in RECORDED:
        name, recorded = entry["name"], entry["response"]
        if name == "load progress at the end":
            lake.load("s3://lake/rec")
        if name.startswith("page of a file in a Hive partition"):
            lake.load("s3://lake/hive")
        address = lake.workers[0].address
        matched = re.match(r"/v1/file/([0-9A-Fa-f]{64})/", entry["target"])
        if matched:
            holders = [w for w in lake.workers if w.order("cached", file_id=matched.group(1).lower())]
            if holders and "does not hold it" in name:
                address = next(w for w in lake.workers if w not in holders).address
            elif holders:
                address = holders[0].address
        answer = exchange(address, entry)
        if name == "load progress early":
            deadline = time.monotonic() + 30
            while "Inodes Scanned: 10" not in answer[1].decode() and time.monotonic() < deadline:
                answer = exchange(address, entry)
        if (answer is None) != (recorded is None):
            differences.append(f"{name}: recorded {recorded}, got {answer}")
            continue
        if answer is None:
            continue
        lines, body = answer
        is_own = entry["target"].startswith("/v1/load")
        own = [line for line in lines if not (is_own and line.startswith("content-length"))]
        theirs = [line for line in recorded["head"] if not (is_own and line.startswith("content-length"))]
        if own != theirs:
            differences.append(f"{name}: head {theirs}, got {own}")
        if "body_sha256" in recorded:
            same = (len(body), hashlib.sha256(body).hexdigest()) == (recorded["body_bytes"], recorded["body_sha256"])
        elif "body_base64" in recorded:
            same = body == base64.b64decode(recorded["body_base64"])
        elif recorded["body"][:1] in ("{", "["):
            ours, expected = comparable(body.decode()), comparable(recorded["body"])
            if name == "load progress early":
                for value in (ours, expected):
                    value["message"] = re.sub(r"(Inodes Processed|Bytes Loaded): .*", r"\1", value["message"])
                    value["respProperties"] = {k: v for k, v in value["respProperties"].items() if k not in RUNNING}
            same = ours == expected
            if not same:
                differences.append(f"{name}:\n  recorded {expected}\n  got      {ours}")
                continue
        else:
            same = body == recorded["body"].encode()
        if not same:
            differences.append(f"{name}: another body, {len(body)} bytes: {body[:200]!r}")
    assert not differences, "\n".join(differences)


def test_all_recorded_requests_are_there():
    assert len(RECORDED) == 70
