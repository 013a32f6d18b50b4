"""Compares two records: a run is resumed, or merged, only with the settings that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from i2s_batch.config import Json
from i2s_batch.errors import RunConflictError
from i2s_batch.output.run_record import RunRecord, option_of

_NAMED = 4  # differences in a message
_LOCATION_CHARACTERS = 200
# Settings that only Python programs can give.
_WITHOUT_OPTION = frozenset({"learning_rate", "beta1", "beta2", "epsilon", "operation", "study"})


def check_same_run(existing: RunRecord, asked: RunRecord, url: str, other: str | None = None) -> None:
    """Raise RunConflictError naming every setting in which two records differ.

    `existing` is the record at `url`; `asked` is what is asked for, or the record of the run at `other`.
    """
    where = f"in {other}" if other else "was asked"
    differences = [
        f"{_name(path)} is {_short(old)} there, {_short(new)} {where}" for path, old, new in _differing(existing, asked)
    ]
    if differences:
        what = "; ".join(differences[:_NAMED]) + ("; ..." if len(differences) > _NAMED else "")
        raise RunConflictError(f"{url} holds a run with other settings: {what}; {_advice(existing, asked, other)}")


def _advice(existing: RunRecord, asked: RunRecord, other: str | None) -> str:
    if other is not None:
        return "only runs that agree can be merged"
    differ = {path for path, _, _ in _differing(existing, asked)}
    if differ == {"source"} and not existing.is_edit:
        return "if these are the same images at another path, add --source-moved; else use another OUT"
    if asked.source == ():  # samples, whose command has no --overwrite
        return "use another OUT"
    return "use another OUT, or --overwrite to replace that run"


def _differing(existing: RunRecord, asked: RunRecord) -> list[tuple[str, Json, Json]]:
    """Return the path of each setting in which two records differ, and its two values."""
    old, new = (dict(flattened(record.identity)) for record in (existing, asked))
    if existing.source_now is not None:
        old["source"] = existing.source_now
    if asked.source_now is not None:
        new["source"] = asked.source_now
    return [
        (path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def flattened(values: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Yield the values of nested JSON objects by their path, such as 'settings.steps'."""
    for name, item in values.items():
        if isinstance(item, dict):
            yield from flattened(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def _name(path: str) -> str:
    """Return a setting as users know it: the option that gives it, or words."""
    group, _, name = path.partition(".")
    if group == "source":
        return "the source"
    if group != "settings":
        return (
            f"the {name.replace('_', ' ')} of the {'VGG-16' if group == 'vgg' else group}" if name else f"the {group}"
        )
    if name == "learned":
        return "the learned file"
    if name in _WITHOUT_OPTION or "." in name:
        return f"the {name.replace('.', ' ').replace('_', ' ')}"
    return option_of(name)


def _short(value: Json) -> str:
    """Return a value in a few characters."""
    text = "none" if value is None else str(value)
    is_location = text.startswith("/") or "://" in text
    return text if len(text) <= (_LOCATION_CHARACTERS if is_location else 60) else f"{text[:12]}..."
