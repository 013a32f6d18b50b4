"""Which Ray a run joins, the token that it presents, and where a Ray of our own keeps its files. No Ray is started."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from i2s_batch.errors import ClusterError
from i2s_batch.run.ray import access, folder
from i2s_batch.run.ray.address import OWN, cluster_address
from i2s_batch.run.ray.folder import LONGEST, ray_folder

TOKEN = "a token that no message may show"
NAMES = ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    access.restore()


@pytest.fixture
def listening() -> Iterator[str]:
    """host:port where something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def record(folder: Path, address: str) -> Path:
    (folder / "ray").mkdir(parents=True)
    file = folder / "ray" / "ray_current_cluster"
    file.write_text(address)
    return file


def refuse(line: str) -> None:
    pytest.fail(line)


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_the_running_cluster_is_found_where_ray_records_it(
    name: str, tmp_path: Path, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "mine", listening)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv(name, str(tmp_path / "mine"))
    assert cluster_address(refuse) == listening
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert cluster_address(refuse) == listening
    monkeypatch.setenv("RAY_ADDRESS", OWN)
    assert cluster_address(refuse) == OWN


def test_a_cluster_that_another_user_has_recorded_is_not_believed(
    tmp_path: Path, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = record(tmp_path / "mine", listening)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "mine"))
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    if uid == 0:
        assert cluster_address(refuse) == listening, "root is believed"
        os.chown(file, 54321, -1)
    lines: list[str] = []
    assert cluster_address(lines.append) == OWN
    assert len(lines) == 1 and "is not joined" in lines[0] and str(file) in lines[0]
    monkeypatch.setenv("RAY_ADDRESS", listening)
    assert cluster_address(refuse) == listening, "the user's own word is believed"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ClusterError, match="names no Ray cluster of this user or root"):
        cluster_address(lines.append)


def _link(file: Path) -> None:
    file.rename(file.with_name("other"))
    file.symlink_to(file.with_name("other"))


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [_link, _pipe, lambda file: file.write_bytes(b"\xff" * 5000)])
def test_what_is_no_record_is_ignored(
    spoil: Callable[[Path], None], tmp_path: Path, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(record(tmp_path / "mine", listening))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "mine"))
    assert cluster_address(refuse) == OWN


def test_a_dead_cluster_is_ignored_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "mine", "127.0.0.1:1")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "mine"))
    assert cluster_address(refuse) == OWN
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"no Ray cluster responds at RAY_ADDRESS=127\.0\.0\.1:1"):
        cluster_address(refuse)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("ray://head:10001", "is a port of Ray Client"),
        ("http://user:secret@head:8265", "is a URL, as of a dashboard"),
        ("nonsense", "no Ray cluster responds"),
    ],
)
def test_other_addresses_are_refused_in_one_line(address: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=what) as refused:
        cluster_address(refuse)
    assert "secret" not in str(refused.value) and "\n" not in str(refused.value)


class _Head(grpc.GenericRpcHandler):
    """The first call of every program that joins a cluster, as a head answers it."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        presented = dict(call.invocation_metadata).get("authorization")

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if self._token is not None and presented != f"Bearer {self._token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def head() -> Iterator[Callable[[str | None], str]]:
    """Start a head that asks for a token, or for none; its address."""
    servers = []

    def start(token: str | None) -> str:
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[_Head(token)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


def write_token(home: Path, token: str) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(f"{token}\n")


@pytest.mark.parametrize("mode", [None, "token", "disabled"])
def test_the_token_is_presented_where_the_cluster_asks_for_it(
    mode: str | None, head: Callable[[str | None], str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever RAY_AUTH_MODE and the token's file say."""
    write_token(home, TOKEN)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    access.match_cluster(head(TOKEN))
    assert os.environ["RAY_AUTH_MODE"] == "token"
    access.restore()
    assert os.environ.get("RAY_AUTH_MODE") == mode
    access.match_cluster(head(None))
    assert os.environ.get("RAY_AUTH_MODE", "disabled") == "disabled", "actors of a cluster without one would die"


def test_a_token_that_is_missing_or_wrong_is_one_line_that_names_its_file(
    head: Callable[[str | None], str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(home / ".ray" / "auth_token")
    with pytest.raises(ClusterError, match="asks for a token, and there is none in") as refused:
        access.match_cluster(head(TOKEN))
    assert file in str(refused.value) and "ray get-auth-token" in str(refused.value)
    write_token(home, f"{TOKEN}, of another cluster")
    with pytest.raises(ClusterError, match="does not accept the token of") as refused:
        access.match_cluster(head(TOKEN))
    assert file in str(refused.value) and TOKEN not in str(refused.value)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "missing"))
    with pytest.raises(ClusterError, match="there is none in the file of RAY_AUTH_TOKEN_PATH"):
        access.match_cluster(head(TOKEN))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    access.match_cluster(head(TOKEN))


def test_what_is_no_ray_is_left_to_ray(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CALL_TIMEOUT_S", 0.5)
    access.match_cluster(listening)
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_ray_of_our_own_has_a_token_of_its_own_and_writes_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_token(home, TOKEN)
    access.protect_own()
    first = os.environ["RAY_AUTH_TOKEN"]
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(first) == 64
    access.restore()
    assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & os.environ.keys()
    access.protect_own()
    assert os.environ["RAY_AUTH_TOKEN"] != first
    access.restore()
    for mode in ("disabled", "token"):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        access.protect_own()
        assert "RAY_AUTH_TOKEN" not in os.environ, "what the user has said stands"
    assert [path.name for path in (home / ".ray").iterdir()] == ["auth_token"]


def test_a_folder_with_a_short_path_is_chosen_for_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    short = tmp_path / "s"
    short.mkdir()
    monkeypatch.setattr(folder, "OTHERS", ("/dev/null", "/tmp"))
    for good in ("/tmp", "/var/tmp"):
        monkeypatch.setenv("TMPDIR", good)
        assert ray_folder(lines.append) is None and lines == []
    for bad, reason in ((f"/tmp/{'x' * LONGEST}", f"the sockets of Ray allow {LONGEST}"), ("/dev/null", "written to")):
        monkeypatch.setenv("TMPDIR", bad)
        assert ray_folder(lines.append) == "/tmp/ray"
        assert f"TMPDIR={bad} " in lines[-1] and reason in lines[-1]
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/x")
    assert ray_folder(lines.append) == "/tmp/ray" and "RAY_TMPDIR=/dev/null/x" in lines[-1]
    monkeypatch.setattr(folder, "FREE_BYTES", 1 << 62)
    with pytest.raises(ClusterError, match=r"no folder for its files: RAY_TMPDIR=.*; /tmp has .* MiB free"):
        ray_folder(lines.append)
