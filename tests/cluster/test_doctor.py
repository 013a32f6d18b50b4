"""The doctor on a cluster of two machines, one of which has no driver for its GPU."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cluster.conftest import RayHead
from tests.cluster.test_nodes import second_machine
from tests.conftest import S3Server
from tests.program import i2s_batch


def test_every_machine_is_examined_and_the_one_without_a_driver_is_named(
    ray_head: RayHead, s3: S3Server, tmp_path: Path
) -> None:
    """The store is tried by workers, which have the driver's credentials; nothing is left there."""
    bucket = s3.new_bucket()
    with second_machine(ray_head, gpus=1):
        result = i2s_batch("doctor", tmp_path, f"s3://{bucket}/out", "--json", env=ray_head.env)
    assert result.returncode == 1, result.stderr
    told = json.loads(result.stdout)
    first, second = sorted(told["nodes"], key=lambda node: "1 GPU by" in node["summary"])
    for node in (first, second):
        findings = {each["name"]: each for section in node["sections"] for each in section["findings"]}
        assert findings["writing"]["state"] == findings["reading"]["state"] == findings["clock"]["state"] == "ok"
        assert findings["CPU"]["found"] == "a kernel runs"
        assert re.fullmatch(r"[\d.]+", node["address"]) and "cores" in node["summary"]
        gpu = findings["GPU"]
        assert gpu["state"] == ("fail" if node is second else "ok")
    assert gpu["found"].startswith("Ray counts 1 GPU here, PyTorch can use none: ")
    assert "driver" in gpu["advice"]
    assert keys_in(s3, bucket) == []


def keys_in(s3: S3Server, bucket: str) -> list[str]:
    """Return the keys of a bucket."""
    return [each["Key"] for each in s3.client().list_objects_v2(Bucket=bucket).get("Contents", ())]
