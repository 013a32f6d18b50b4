"""What a worker on another machine takes over of the driver's settings for stores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from i2s_batch.storage.store_settings import adopt, store_settings

DRIVER = {
    "AWS_ENDPOINT_URL_S3": "https://minio.example",
    "AWS_REGION": "eu-north-1",
    "AWS_ACCESS_KEY_ID": "driver",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The environment of a worker's machine, which has keys of its own and knows one profile."""
    environment = {
        "AWS_ACCESS_KEY_ID": "worker",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_SESSION_TOKEN": "of the worker's keys",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "PATH": os.environ["PATH"],
    }
    (tmp_path / "config").write_text("[profile known]\nregion = x\n")
    monkeypatch.setattr(os, "environ", dict(environment))
    return environment


def now() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


def test_settings_that_do_not_concern_s3_stay_where_they_are() -> None:
    others = {"HOME": "/root", "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_REGION": "", "RAY_ADDRESS": "x"}
    assert store_settings(DRIVER | others) == {name: DRIVER[name] for name in DRIVER if name != "AWS_REGION"}


def test_the_driver_s_keys_replace_the_worker_s_with_their_token() -> None:
    adopt(store_settings(DRIVER))
    assert os.environ["AWS_ACCESS_KEY_ID"] == "driver" and os.environ["AWS_SECRET_ACCESS_KEY"] == "secret"
    assert "AWS_SESSION_TOKEN" not in os.environ, "a token of other keys makes both worthless"
    assert os.environ["AWS_REGION"] == "eu-north-1" and os.environ["AWS_ENDPOINT_URL_S3"] == "https://minio.example"


def test_without_keys_of_the_driver_the_worker_keeps_its_own(worker: dict[str, str]) -> None:
    adopt(store_settings({"AWS_REGION": "eu-north-1"}))
    assert now() == worker | {"AWS_REGION": "eu-north-1"}


def test_a_profile_is_taken_where_it_is_known_and_a_file_where_it_exists(
    worker: dict[str, str], tmp_path: Path
) -> None:
    adopt({"AWS_PROFILE": "unknown", "AWS_CA_BUNDLE": str(tmp_path / "missing.pem")})
    assert now() == worker
    (tmp_path / "here.pem").touch()
    adopt({"AWS_PROFILE": "known", "AWS_CA_BUNDLE": str(tmp_path / "here.pem")})
    assert now() == worker | {"AWS_PROFILE": "known", "AWS_CA_BUNDLE": str(tmp_path / "here.pem")}
