"""run.json: what a run is. Written once; a run with other settings in the same output is refused."""

from __future__ import annotations

import json
import platform
import shlex
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2s_batch.config import EmbedRunConfig
from i2s_batch.errors import RunConflictError, StorageError
from i2s_batch.schema.codec import shard_metadata
from i2s_batch.schema.columns import SCHEMA_VERSION
from i2s_batch.storage.urls import without_secrets

if TYPE_CHECKING:  # reading a record needs no torch
    from i2s_batch.models import GeneratorWeights, VGGWeights

# The parts of run.json that a resumed run must agree with.
IDENTITY = ("source", "settings", "generator", "vgg")
# Of each shard, from its publication on; the runs of older programs have none.
CHECKSUMS = "sha256"
# Present where the run was begun with --in-process, for the command that resumes it; no part of what the run is.
IN_PROCESS = "in_process"
# Settings of the record that are options of the command line; the others can only be set from Python.
_OPTIONS = (
    *("steps", "space", "init", "seed", "fit", "optimizer", "stop_plateau", "plateau_steps"),
    *("precision", "shard_size"),
)


def code_version() -> str:
    """The version of this package, or 'unknown' when it runs from a folder that is not installed."""
    try:
        return version("i2s_batch")
    except PackageNotFoundError:
        return "unknown"


def _recorded(place: str) -> str:
    """A path or URL as it may be shown, the same from anywhere."""
    return without_secrets(place).rstrip("/") if "://" in place else str(Path(place).absolute())


def make_record(
    source: str | list[str],
    settings: dict[str, Any],
    generator: GeneratorWeights,
    vgg: VGGWeights | None,
    networks: dict[str, str],
) -> dict[str, Any]:
    """What run.json holds for a new run, as JSON values. `source`: where the pictures or, if they are edited, the
    tables are; `settings`: those that a resumed run must agree with; `networks`: as they were given."""
    return {
        "schema_version": SCHEMA_VERSION,
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": _recorded(source) if isinstance(source, str) else [_recorded(one) for one in source],
        "settings": settings,
        "generator": {
            "fingerprint": generator.fingerprint,
            "family": generator.family,
            "origin": generator.origin,
            "latent_shape": list(generator.latent_shape),
        },
        "vgg": None if vgg is None else {"fingerprint": vgg.fingerprint, "origin": vgg.origin},
        "given": {name: given(network) for name, network in networks.items()},
        "checksums": CHECKSUMS,
        "code_version": code_version(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "pillow", "pyarrow")},
    }


def given(name: str) -> str | None:
    """A network's name, path or URL as it was given, for the command that goes on with a run; None if it holds
    a secret."""
    if "://" not in name:
        path = Path(name)
        return str(path.absolute()) if path.is_file() else name
    return name if without_secrets(name) == name else None


def given_networks(record: dict[str, Any]) -> dict[str, str | None]:
    """The networks of a run by role, as they were given; empty in the record of an older program."""
    networks = record.get("given")
    return networks if isinstance(networks, dict) else {}


def resume_command(record: dict[str, Any], out: str) -> str | None:
    """The command that goes on with the run of `record`; None if a command line cannot say it."""
    if "command" in record:  # of an edit, whose options are many
        words = record["command"]
        return None if words is None else shlex.join(["i2s-batch", *words])
    networks = given_networks(record)
    asked, usual = record["settings"], EmbedRunConfig().identity()
    others = [name for name in asked if name not in _OPTIONS and asked[name] != usual.get(name)]
    if others or not networks.get("generator") or not networks.get("vgg"):
        return None
    words = ["i2s-batch", "embed", record["source"], out]
    for name in ("generator", "vgg"):
        words += [f"--{name}", networks[name]]
    for name in _OPTIONS:
        if name in asked and asked[name] != usual.get(name):
            words += [f"--{name.replace('_', '-')}", str(asked[name])]
    if record.get(IN_PROCESS):
        words.append("--in-process")
    return shlex.join(words)


def parse_record(content: bytes, uri: str) -> dict[str, Any]:
    """The run.json of an existing run; raises StorageError when it is not one."""
    try:
        record = json.loads(content)
    except ValueError as error:
        raise StorageError(f"{uri} is no run record ({error}); use another OUT") from error
    if not isinstance(record, dict) or any(key not in record for key in IDENTITY):
        raise StorageError(f"{uri} is no run record of i2s_batch; use another OUT")
    return record


def check_same_run(existing: dict[str, Any], asked: dict[str, Any], url: str, other: str | None = None) -> None:
    """Raise RunConflictError naming every setting in which two records differ: that of the run at `url`, and what
    is asked for, or that of the run at `other`."""
    there, here = (_flat({key: record[key] for key in IDENTITY}) for record in (existing, asked))
    names = sorted(there.keys() | here.keys())
    differences = [
        f"{name} is {_short(there.get(name))} there, {_short(here.get(name))} {'in ' + other if other else 'was asked'}"
        for name in names
        if there.get(name) != here.get(name)
    ]
    if differences:
        what = "; ".join(differences[:4]) + ("; ..." if len(differences) > 4 else "")
        advice = "only runs that agree can be merged" if other else "use another OUT"
        raise RunConflictError(f"{url} holds a run with other settings: {what}; {advice}")


def table_metadata(record: dict[str, Any]) -> dict[str, str]:
    """The file metadata of every shard."""
    layers, w_dim = record["generator"]["latent_shape"]
    return shard_metadata(
        latent_shape=(layers, w_dim),
        space=record["settings"].get("space", "w+"),
        generator=record["generator"]["fingerprint"],
        vgg=record["vgg"]["fingerprint"] if record["vgg"] else "",
        settings=record["settings"] | {name: record[name] for name in ("source", "generator", "vgg")},
        code_version=record["code_version"],
    )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        path = f"{prefix}{name}"
        flat |= _flat(item, f"{path}.") if isinstance(item, dict) else {path: item}
    return flat


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
