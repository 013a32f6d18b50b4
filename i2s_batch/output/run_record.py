"""Records what a run is, in run.json: written once; a run with other settings in the same output is refused."""

from __future__ import annotations

import json
import platform
import shlex
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from i2s_batch.config import EmbedRunConfig, Json
from i2s_batch.errors import StorageError
from i2s_batch.output.moved_source import moved_uri
from i2s_batch.schema.columns import SCHEMA_VERSION
from i2s_batch.schema.metadata import shard_metadata
from i2s_batch.schema.row import RowOrigin
from i2s_batch.schema.settings import GeneratorRecord, RunSettings, VGGRecord, load
from i2s_batch.storage.urls import is_url, without_secrets

# Kind of checksum that is kept of each shard from its publication on; runs of older programs have none.
CHECKSUMS = "sha256"
# Settings of the record that are options of the command line; what later versions record has none here.
_OPTIONS = (
    *("steps", "space", "init", "seed", "fit", "optimizer", "stop_plateau", "plateau_steps"),
    *("prior", "target_loss", "target_psnr"),
    *("align", "box", "min_size", "dedupe"),
    *("learning_rate", "beta1", "beta2", "epsilon", "loss_weights", "precision", "shard_size"),
    *("noise_steps", "noise_objective", "noise_learning_rate", "noise_penalty"),
)
# Options that have another name than the setting: run.json keeps the names of earlier versions.
_OPTION_OF = {
    "stop_plateau": "early-stopping",
    "plateau_steps": "patience",
    "classes": "class-column",
    "picture_format": "format",
    "jobs": "edit-list",
    "truncation_psi": "psi",
    "truncation_cutoff": "cutoff",
}


def option_of(setting: str) -> str:
    """Return the option of the command line for a setting of run.json."""
    return f"--{_OPTION_OF.get(setting, setting.replace('_', '-'))}"


def code_version() -> str:
    """Return the version of this package, or 'unknown' when it runs from a folder that is not installed."""
    try:
        return version("i2s_batch")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class RunRecord:
    """Holds the content of run.json.

    Attributes:
        source: Where the images are; for an edit, where the tables are.
        settings: The settings that a resumed run must agree with.
        generator: The generator.
        vgg: The VGG-16; None for a run that needs none.
        schema_version: Version of the table's columns.
        created_at: UTC, ISO 8601.
        run_id: A UUID that every row of the run holds; None in the record of an older program.
        given: The networks and the learned file by role, as they were given, for the command that resumes the run; None
            for one whose name holds a secret.
        checksums: CHECKSUMS, or None in the record of an older program.
        code_version: Version of this package.
        versions: Versions of Python and of libraries, by name.
        command: The arguments of the command that resumes the run, without the program's name, where the settings do
            not determine them; None where none can be shown.
        in_process: Whether the run was started with --in-process; no part of what the run is.
        merged: The outputs that a merged run was made of; None for other runs.
        source_now: Where the source has moved to since the run began; None where it is still at `source`.
        moved: Where files of sources were and where they are now, each a pair of folders or prefixes.
        max_failed_fraction: The fraction of images that may fail, for the command that resumes the run; None for the
            usual one. No part of what the run is.
        preset: The name of the preset that the settings came from, for people; None without one.
    """

    source: str | tuple[str, ...]
    settings: RunSettings
    generator: GeneratorRecord
    vgg: VGGRecord | None
    schema_version: int = SCHEMA_VERSION
    created_at: str = ""
    run_id: str | None = None
    given: dict[str, str | None] = field(default_factory=dict)
    checksums: str | None = None
    code_version: str = "unknown"
    versions: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET
    in_process: bool = False
    merged: tuple[str, ...] | None = None
    source_now: str | None = None
    moved: tuple[tuple[str, str], ...] = ()
    max_failed_fraction: float | None = None
    preset: str | None = None

    @property
    def shard_size(self) -> int:
        """Return the number of images in a shard."""
        return self.settings.shard_size or 0

    @property
    def is_edit(self) -> bool:
        """Return whether the run edited tables."""
        return not isinstance(self.source, str)

    @property
    def row_origin(self) -> RowOrigin:
        """Return what all rows of the run have in common."""
        return RowOrigin(self.schema_version, self.generator.fingerprint, self.run_id)

    @property
    def identity(self) -> dict[str, Json]:
        """Return the parts that a resumed run must agree with, as JSON values."""
        return {
            "source": self.source if isinstance(self.source, str) else list(self.source),
            "settings": self.settings.values,
            "generator": asdict(self.generator) | {"latent_shape": list(self.generator.latent_shape)},
            "vgg": None if self.vgg is None else asdict(self.vgg),
        }

    def encode(self) -> bytes:
        """Return the bytes of run.json."""
        values: dict[str, Json] = {"schema_version": self.schema_version, "created_at": self.created_at}
        if self.run_id is not None:
            values["run_id"] = self.run_id
        values |= self.identity
        values |= {
            "given": dict(self.given),
            "checksums": self.checksums,
            "code_version": self.code_version,
            "versions": dict(self.versions),
        }
        if self.in_process:
            values["in_process"] = True
        if not isinstance(self.command, msgspec.UnsetType):
            values["command"] = None if self.command is None else list(self.command)
        if self.merged is not None:
            values["merged"] = list(self.merged)
        if self.source_now is not None:
            values["source_now"] = self.source_now
        if self.moved:
            values["moved"] = [list(pair) for pair in self.moved]
        if self.max_failed_fraction is not None:
            values["max_failed_fraction"] = self.max_failed_fraction
        if self.preset is not None:
            values["preset"] = self.preset
        return json.dumps(values, indent=2).encode()

    @classmethod
    def decode(cls, content: bytes, uri: str) -> RunRecord:
        """Return the record in the bytes of a run.json at `uri`.

        Raises:
            StorageError: The bytes are no record, or damaged; the message names the field.
        """
        try:
            values: dict[str, Json] = msgspec.json.decode(content, type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StorageError(f"{uri} is not a run record ({error}); use another OUT") from error
        if not all(name in values for name in ("source", "settings", "generator", "vgg")):
            raise StorageError(f"{uri} is not a run record of i2s_batch; use another OUT")
        settings = values["settings"]
        if values.get("given") is None:  # as in the record of an older program
            values["given"] = {}
        if isinstance(settings, dict):
            values["settings"] = settings | {"values": settings}
        try:
            record = load(values, cls)
            if record.settings.shard_size is None:
                raise ValueError("the settings lack shard_size")
        except ValueError as error:
            raise StorageError(f"{uri} is damaged ({error}); use another OUT") from error
        return record

    def table_metadata(self) -> dict[str, str]:
        """Return the file metadata of every shard."""
        identity = self.identity
        return shard_metadata(
            latent_shape=self.generator.latent_shape,
            space=self.settings.space or "w+",
            generator=self.generator.fingerprint,
            vgg=self.vgg.fingerprint if self.vgg else "",
            settings=self.settings.values | {name: identity[name] for name in ("source", "generator", "vgg")},
            code_version=self.code_version,
            schema_version=self.schema_version,
        )

    def resume_command(self, out: str) -> str | None:
        """Return the command that resumes the run, whose output is at `out`; None if no command line can express it."""
        if not isinstance(self.command, msgspec.UnsetType):  # of an edit, whose options are many
            return None if self.command is None else shlex.join(["i2s-batch", *self.command])
        asked, usual = self.settings.values, EmbedRunConfig().identity()
        roles = ("generator", "vgg", *(role for role in ("learned", "face_model") if role in asked))
        known = (*_OPTIONS, *roles)
        others = [name for name in asked if name not in known and asked[name] != usual.get(name)]
        networks = [(role, self.given.get(role)) for role in roles]
        if others or not isinstance(self.source, str):
            return None
        arguments = ["i2s-batch", "embed", self.source_now or self.source, out]
        for role, network in networks:
            if not network:
                return None
            arguments += [option_of(role), network]
        for name in _OPTIONS:
            if name in asked and asked[name] != usual.get(name):
                arguments += [option_of(name)] if asked[name] is True else [option_of(name), _value(asked[name])]
        if self.max_failed_fraction is not None:
            arguments += ["--max-failed-fraction", f"{self.max_failed_fraction:g}"]
        if self.in_process:
            arguments.append("--in-process")
        return shlex.join(arguments)

    def with_move(self, content: bytes) -> bytes:
        """Return the bytes `content` of run.json with this record's source_now and moves, and all else as it is."""
        values = json.loads(content)
        for name in ("source_now", "moved"):
            values.pop(name, None)
        if self.source_now is not None:
            values["source_now"] = self.source_now
        if self.moved:
            values["moved"] = [list(pair) for pair in self.moved]
        return json.dumps(values, indent=2).encode()

    def present_uri(self, uri: str) -> str:
        """Return where the image is now that the run read at `uri`."""
        return moved_uri(uri, self.moved)

    def merged_with(self, source: str, outs: tuple[str, ...]) -> RunRecord:
        """Return the record of a run that `outs` were merged into; no command resumes it."""
        merged = replace(self, source=source, merged=outs, created_at=_now(), command=None, checksums=CHECKSUMS)
        merged = replace(merged, source_now=None, max_failed_fraction=None)
        return replace(merged, schema_version=SCHEMA_VERSION, run_id=str(uuid.uuid4()))


def _value(setting: Json) -> str:
    """Return a setting as the command line has it."""
    if isinstance(setting, dict):  # the loss weights
        return ",".join(f"{name}={_value(value)}" for name, value in setting.items())
    return str(setting).removesuffix(".0")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def recorded_location(location: str) -> str:
    """Return a path or URL as it may be shown, the same from anywhere."""
    return without_secrets(location).rstrip("/") if is_url(location) else str(Path(location).absolute())


def new_record(
    source: str | tuple[str, ...],
    settings: Mapping[str, Json],
    generator: GeneratorRecord,
    vgg: VGGRecord | None,
    networks: Mapping[str, str],
) -> RunRecord:
    """Return the record of a new run.

    Args:
        source: Where the images or, if they are edited, the tables are.
        settings: Those that a resumed run must agree with, as JSON values.
        generator: The generator.
        vgg: The VGG-16; None for a run that needs none.
        networks: Where the networks are, by role, as they were given.
    """
    return RunRecord(
        source=recorded_location(source)
        if isinstance(source, str)
        else tuple(recorded_location(one) for one in source),
        settings=RunSettings.of(settings),
        generator=generator,
        vgg=vgg,
        created_at=_now(),
        run_id=str(uuid.uuid4()),
        given={name: given(network) for name, network in networks.items()},
        checksums=CHECKSUMS,
        code_version=code_version(),
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "pillow", "pyarrow")},
    )


def given(name: str) -> str | None:
    """Return a network's name, path or URL as it was given, for the command that resumes a run.

    None if it holds a secret.
    """
    if not is_url(name):
        path = Path(name)
        return str(path.absolute()) if path.is_file() else name
    return name if without_secrets(name) == name else None
