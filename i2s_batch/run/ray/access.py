"""Presents a token where a Ray cluster asks for one, and gives a Ray of our own a token that nobody else knows.

Ray asks for a token as soon as `ray start` or another program has found one in ~/.ray/auth_token, but a program that
joins an address presents it only where RAY_AUTH_MODE says so. If the two differ, Ray fails after 20 s, or its actors
die. So the cluster is asked first. A Ray of our own never writes the file: it would change what `ray start` does next.
"""

from __future__ import annotations

import importlib
import os
import secrets
from pathlib import Path
from typing import Any

import grpc

from i2s_batch.errors import ClusterError
from i2s_batch.storage.cache_folder import home

_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"  # the first call of every program that joins a cluster
CALL_TIMEOUT_S = 10.0
_changed: dict[str, str | None] = {}  # what the environment held before


def match_cluster(address: str) -> None:
    """Set RAY_AUTH_MODE, for this process, as the cluster at host:port has it; `restore` undoes it.

    Raises:
        ClusterError: The cluster asks for a token that is not at hand; the message never shows one.
    """
    if os.environ.get(_MODE, "disabled").lower() not in ("disabled", "token"):
        return  # a mode that only Ray knows
    asks = _refuses(address, None)
    if asks is None:
        return
    if asks:
        where, token = _token()
        if token is None:
            raise _refusal(f"the Ray cluster at {address} asks for a token, and there is none in {where}")
        if _refuses(address, token):
            raise _refusal(f"the Ray cluster at {address} does not accept the token of {where}")
    if (os.environ.get(_MODE, "disabled").lower() == "token") != asks:
        _change({_MODE: "token" if asks else "disabled"})


def _refusal(what: str) -> ClusterError:
    return ClusterError(
        f"{what}; get the cluster's with `ray get-auth-token` on its head, and store it there or in a file that "
        f"{_TOKEN_PATH} names"
    )


def protect_own() -> None:
    """Give the Ray that is started next a token of its own, unless RAY_AUTH_MODE says otherwise.

    `restore` undoes it.
    """
    mode = os.environ.get(_MODE)
    if mode is None or (mode.lower() == "token" and _token()[1] is None):
        _change({_MODE: "token", _TOKEN: secrets.token_hex(32)})


def restore() -> None:
    """Set the environment as it was before."""
    if _changed:
        for name, value in _changed.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _changed.clear()
        _read_again()


def _change(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        _changed.setdefault(name, os.environ.get(name))
        os.environ[name] = value
    _read_again()


def _read_again() -> None:
    """Let Ray read its settings and its token again, as it does itself where it changes them."""
    raylet: Any = importlib.import_module("ray._raylet")
    if hasattr(raylet, "AuthenticationTokenLoader"):  # not in a Ray from before there were tokens
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def _token() -> tuple[str, str | None]:
    """Return where Ray looks for the user's token, and the token; None if there is none."""
    if token := os.environ.get(_TOKEN, "").strip():
        return _TOKEN, token
    path, where = os.environ.get(_TOKEN_PATH), f"the file of {_TOKEN_PATH}"
    if path is None:
        user = home()
        if user is None:
            return f"{_TOKEN} (this user has no home)", None
        path = str(user / ".ray" / "auth_token")
        where = path
    try:
        return where, Path(path).read_text(errors="replace").strip() or None
    except OSError:
        return where, None


def _refuses(address: str, token: str | None) -> bool | None:
    """Return whether the cluster refuses calls with this token, or without one; None if that cannot be told."""
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_CALL)(b"", timeout=CALL_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            return True if error.code() == grpc.StatusCode.UNAUTHENTICATED else None
    return False
