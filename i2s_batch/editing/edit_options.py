"""An edit's own options of the command line, as data: the fields of a frozen dataclass, each made by a function here.

    @dataclass(frozen=True)
    class FadeOptions(EditOptions):
        to: str = image_id_option("The image that all others fade to.", required=True)
        strengths: tuple[float, ...] = strengths_option("0 is the first image, 1 the second.", default=(0.5,))

        def request(self) -> Fade: ...

`cli/edit.py` offers them: `to_image` becomes --to-image. What this module knows nothing of: Click, and the options that
all edits have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from i2s_batch.editing.requests import ListedEdit, Request
from i2s_batch.errors import ConfigError

OPTION = "i2s_batch.option"  # the key of an `Option` in the metadata of a field


class OptionsError(ConfigError):
    """Options that do not go together."""


class Kind(Enum):
    """What the value of an option is, and how it is written."""

    FLAG = "flag"
    IMAGE_ID = "ID"
    PREFIX = "PREFIX"  # chooses the images whose ids begin so
    EDIT_LIST = "FILE"
    WHOLE = "INTEGER"
    NUMBER = "FLOAT"
    STRENGTHS = "A,B,..."
    LAYERS = "4-7,9"


@dataclass(frozen=True)
class Option:
    """Describes an option: its kind, one sentence for `--help`, and of a whole number the least and the most.
    `replaces`: another option, which has no effect beside this one."""

    kind: Kind
    help: str
    least: int | None = None
    most: int | None = None
    required: bool = False
    replaces: str | None = None


@dataclass(frozen=True)
class EditOptions(ABC):
    """Holds the values of an edit's own options. Each edit derives one, with a field an option.

    Attributes:
        animation: What its sequences are made into beside single images, unless --animation says otherwise: a key of
            `config.ANIMATIONS` or "none". None for an edit that makes no sequences.
    """

    animation: ClassVar[str | None] = None

    @abstractmethod
    def request(self) -> Request:
        """Return the request that the options ask for . Raises OptionsError or ConfigError."""


# Each function returns a field, typed Any as `dataclasses.field` is for whoever assigns it to a field of another type.


def flag_option(text: str) -> Any:
    """Return the field of an option that is given or not (bool)."""
    return field(default=False, metadata={OPTION: Option(Kind.FLAG, text)})


def image_id_option(text: str, required: bool = False) -> Any:
    """Return the field of an option whose value is the id of an image (str, or None where it is not required)."""
    option = Option(Kind.IMAGE_ID, text, required=required)
    return field(metadata={OPTION: option}) if required else field(default=None, metadata={OPTION: option})


def prefix_option(text: str) -> Any:
    """Return the field of an option that chooses the images whose ids begin so (str or None)."""
    return field(default=None, metadata={OPTION: Option(Kind.PREFIX, text)})


def edit_list_option(text: str) -> Any:
    """Return the field of an option whose value is the path or URL of an edit list (str or None)."""
    return field(default=None, metadata={OPTION: Option(Kind.EDIT_LIST, text)})


def whole_option(text: str, default: int | None = None, least: int | None = None, most: int | None = None) -> Any:
    """Return the field of an option whose value is a whole number from `least` to `most` (int)."""
    return field(default=default, metadata={OPTION: Option(Kind.WHOLE, text, least, most)})


def number_option(text: str, default: float) -> Any:
    """Return the field of an option whose value is a number (float)."""
    return field(default=default, metadata={OPTION: Option(Kind.NUMBER, text)})


def strengths_option(text: str, default: tuple[float, ...] | None = None, replaces: str | None = None) -> Any:
    """Return the field of an option whose value is a list of strengths (tuple[float, ...]); where it is given, the
    option `replaces` has no effect."""
    return field(default=default, metadata={OPTION: Option(Kind.STRENGTHS, text, replaces=replaces)})


def layers_option(text: str) -> Any:
    """Return the field of an option whose value is a list of layers (tuple[int, ...] or None)."""
    return field(default=None, metadata={OPTION: Option(Kind.LAYERS, text)})


def only_one(given: Mapping[str, bool]) -> str | None:
    """Return the one pairing that was asked for, of `given` by option name; None if it is an edit list.

    Raises:
        OptionsError: None is asked for, or several.
    """
    asked = [name for name, is_asked in given.items() if is_asked]
    if len(asked) != 1:
        ways = ", ".join(f"--{name}" for name in given)
        found = " and ".join(f"--{name}" for name in asked) or "none"
        raise OptionsError(f"exactly one of {ways} says what goes with what; given: {found}")
    return None if asked[0] == "edit-list" else asked[0]


def listed_edits(source: str | None, roles: tuple[str, ...]) -> tuple[ListedEdit, ...] | None:
    """Return the rows of the edit list at `source`, whose columns of image ids are `roles`; None without a source."""
    if source is None:
        return None
    from i2s_batch.editing.edit_lists import read_edit_list  # needs pyarrow, which --help does not

    return tuple(read_edit_list(source, roles))
