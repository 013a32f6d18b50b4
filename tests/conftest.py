"""Fixtures for every test: real S3 servers (moto_server, a process of its own, on loopback)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import torch
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from i2s_batch.inversion import optimizer
from i2s_batch.storage.s3_client import s3_client
from tests.faults import report
from tests.learned_files import learned_file  # noqa: F401
from tests.material import generator, pictures, vgg  # noqa: F401
from tests.program import i2s_batch

START_TIMEOUT_S = 120

# Servers and browsers, whose tests are no part of the quick set: they are processes of their own.
SLOW_FIXTURES = frozenset({"s3", "s3_with_auth", "ray_head", "browser", "demo_run"})
# Folders whose tests start Ray or the program itself, kill processes, or build kernels of a GPU.
SLOW_FOLDERS = ("tests/cli/", "tests/cluster/", "tests/faults/", "tests/gpu/")


RAY = "ray"  # the tests that start a Ray, which one process does


def pytest_addoption(parser: pytest.Parser) -> None:
    """`long`: many more mutated files, or faults, than each run of the tests can afford."""
    parser.addoption("--fuzz", choices=("short", "long"), default="short", help="Mutated files and examples read.")
    parser.addoption("--trees", type=int, default=30, help="Random trees of tests/cli/test_nothing_destroyed.py.")
    parser.addoption("--faults", choices=("short", "long"), default="short", help="How long tests/faults go on.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `slow` what the quick set (`-m "not slow"`) leaves out: by the fixtures that a test uses and by its
    folder. A test that takes long for another reason carries the mark itself.

    The tests that one process does alone begin first: with `-n`, whoever does them would else end last.
    """
    items.sort(key=lambda item: _scope_of(item.nodeid) != RAY)
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.nodeid.startswith(SLOW_FOLDERS) or _asks_for_slow(item, fixtures):
            item.add_marker(pytest.mark.slow)


def _asks_for_slow(item: pytest.Item, fixtures: Sequence[str]) -> bool:
    """Return whether a test uses a slow fixture, or has the name of one as a parameter (for `getfixturevalue`)."""
    call = getattr(item, "callspec", None)
    asked = [*fixtures, *(call.params.values() if call is not None else ())]
    return any(isinstance(name, str) and name in SLOW_FIXTURES for name in asked)


# Properties are tried with the same examples each time, and `--fuzz long` tries many, which differ.
settings.register_profile("always", deadline=None, database=None)
settings.register_profile("short", settings.get_profile("always"), derandomize=True, max_examples=40)
settings.register_profile("long", settings.get_profile("always"), max_examples=1000, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples each property is tried with, and where the files of the tests lie."""
    settings.load_profile(config.getoption("--fuzz"))
    if _has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


# Whatever is durable is written with fsync, for which a disk takes milliseconds, thousands of times. In memory it costs
# nothing. `--basetemp` puts the files elsewhere.
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30


def _has_room(folder: Path) -> bool:
    """Return whether the files of all tests have room in a file system in memory; in a container it may be small."""
    return folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= MEMORY_BYTES


def _scope_of(nodeid: str) -> str:
    """Return the name of the tests that one process does: of a file, or of all that start a Ray."""
    file = nodeid.partition("::")[0]
    return RAY if file.startswith("tests/cluster/") or file == "tests/cli/test_demo.py" else file


class ByFile(LoadScopeScheduling):
    """With `-n`, the tests of a file go to one process, in their order; and to one all that start a Ray."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """What goes to which process."""
    return ByFile(config, log)


# The networks of the tests are small: threads that wait for each other cost more than they bring.
torch.set_num_threads(1)

# moto checks a condition and writes in two steps, with other threads in between if the interpreter switches
# there. A long switch interval makes a conditional write one step, which it is on S3.
_SERVER = "import sys; sys.setswitchinterval(5); from moto.server import main; main(sys.argv[1:])"

_ENDPOINT = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")

WARM_UP = 3


@pytest.fixture
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """L-BFGS begins after `WARM_UP` steps of Adam: tests that take a hundred would see none of its own."""
    monkeypatch.setattr(optimizer, "WARM_UP", WARM_UP)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of docs/faults.md, of a session with `--faults long`."""
    if report.LINES:
        terminalreporter.write_line("\n".join([report.HEAD, *report.LINES]))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What programs remember between runs is not the user's, whose home stays as it is."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def long_faults(request: pytest.FixtureRequest) -> bool:
    """Whether the long setting of tests/faults was asked for."""
    return request.config.getoption("--faults") == "long"


@dataclass(frozen=True)
class DemoRun:
    """What `i2s-batch demo` left, and what it printed."""

    folder: Path
    result: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """`i2s-batch demo` as users start it, where there is no cluster: once, for all who look at its output."""
    home = tmp_path_factory.mktemp("demo")
    env = {"RAY_ADDRESS": "", "HOME": str(home), "TMPDIR": str(home)}
    return DemoRun(home / "my demo", i2s_batch("demo", "my demo", env=env, cwd=home))


@dataclass(frozen=True)
class S3Server:
    """A running server and the environment with which any process reaches it."""

    endpoint: str
    env: dict[str, str]

    def client(self, service: str = "s3") -> Any:
        """A client of its own, whatever this process's environment says."""
        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.env["AWS_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


def s3_environment(endpoint: str, key: str, secret: str) -> dict[str, str]:
    """Return the environment with which any process reaches the S3 server at `endpoint`."""
    nowhere = "/nonexistent"  # the settings of whoever runs the tests must not matter
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
    }


@contextmanager
def moto_server(folder: Path, **settings: str) -> Iterator[str]:
    """Start moto_server on loopback; its endpoint. It takes a free port itself, so that no other program is faster.

    Ended by its process id.
    """
    command = [sys.executable, "-c", _SERVER, "-H", "127.0.0.1", "-p", "0"]
    log = folder / "moto.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | settings
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield _endpoint_when_up(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _endpoint_when_up(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := _ENDPOINT.search(log.read_text()):
            requests.get(f"{found[1]}/moto-api/data.json", timeout=30, proxies={"http": ""}).raise_for_status()
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"moto_server did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for the whole session. It takes any credentials."""
    with moto_server(tmp_path_factory.mktemp("moto")) as endpoint:
        yield S3Server(endpoint, s3_environment(endpoint, "test-key", "test-secret"))


@pytest.fixture(scope="session")
def s3_with_auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that refuses wrong credentials; those in `env` are right and may do anything on S3."""
    # The first three requests, which make the user, are let through unchecked.
    with moto_server(tmp_path_factory.mktemp("moto-auth"), INITIAL_NO_AUTH_ACTION_COUNT="3") as endpoint:
        iam = S3Server(endpoint, s3_environment(endpoint, "nobody", "nothing")).client("iam")
        iam.create_user(UserName="tester")
        rules = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName="tester", PolicyName="s3", PolicyDocument=json.dumps(rules))
        key = iam.create_access_key(UserName="tester")["AccessKey"]
        yield S3Server(endpoint, s3_environment(endpoint, key["AccessKeyId"], key["SecretAccessKey"]))


@pytest.fixture
def s3_env(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process's environment, and so its children's, points at the `s3` server for one test."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return s3.env


@pytest.fixture
def s3_bucket(request: pytest.FixtureRequest, s3: S3Server, s3_env: dict[str, str]) -> str:
    """The name of a fresh bucket on the `s3` server, reachable with this process's environment."""
    assert request.node.get_closest_marker("slow"), "a test that asks for a server by another way carries the mark"
    return s3.new_bucket()


@pytest.fixture
def s3_downloads(s3_env: dict[str, str]) -> Iterator[list[int]]:
    """The bytes of every object, or part of one, that this process asks the `s3` server for from now on."""
    sizes: list[int] = []

    def note(parsed: dict[str, Any], **_: Any) -> None:
        sizes.append(int(parsed.get("ContentLength", 0)))  # none: there is no such object

    events = s3_client().meta.events
    events.register("after-call.s3.GetObject", note)
    yield sizes
    events.unregister("after-call.s3.GetObject", note)
