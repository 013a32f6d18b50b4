"""Describes an edit's own options of the command line as fields of a frozen dataclass, made by functions.

    @dataclass(frozen=True)
    class FadeOptions(EditOptions):
        to: str = image_id_option("Image that all others fade to.", required=True)
        strengths: tuple[float, ...] = strengths_option("Strengths of the fade; 1 is its end.", default=(0.5,))

        def request(self) -> Fade: ...

`cli/edit.py` offers them: `to_image` becomes --to-image. This module knows neither Click nor the options that all edits
have.
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
    """Reports options that do not go together."""


class Kind(Enum):
    """Names the type of an option's value; the text is how `--help` shows the value."""

    FLAG = "flag"
    IMAGE_ID = "ID"
    PREFIX = "PREFIX"  # chooses the images whose ids begin with it
    EDIT_LIST = "FILE"
    WHOLE = "INTEGER"
    NUMBER = "FLOAT"
    STRENGTHS = "A,B,..."
    LAYERS = "4-7,9"


@dataclass(frozen=True)
class Option:
    """Describes an option.

    Attributes:
        kind: The type of its value.
        help: One sentence for `--help`, with the unit of the value.
        least: The smallest whole number; None for any.
        most: The largest whole number; None for any.
        required: True if there is no edit without it.
        replaces: Another option, which has no effect beside this one.
    """

    kind: Kind
    help: str
    least: int | None = None
    most: int | None = None
    required: bool = False
    replaces: str | None = None


@dataclass(frozen=True)
class EditOptions(ABC):
    """Holds the values of an edit's own options; each edit derives a class, with a field an option.

    Attributes:
        animation: The file format into which its sequences are made beside single images, unless --animation is given:
            one of `config.ANIMATIONS` or "none". None for an edit that makes no sequences.
        reproduces: Whether its images show latents as they are, so that photographs can be compared with them.
    """

    animation: ClassVar[str | None] = None
    reproduces: ClassVar[bool] = False

    @abstractmethod
    def request(self) -> Request:
        """Return the request that the options ask for.

        Raises:
            ConfigError: The options do not go together (OptionsError), or a value is out of its range.
        """


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
    """Return the field of an option whose value is a list of strengths (tuple[float, ...]).

    Where it is given, the option `replaces` has no effect.
    """
    return field(default=default, metadata={OPTION: Option(Kind.STRENGTHS, text, replaces=replaces)})


def layers_option(text: str) -> Any:
    """Return the field of an option whose value is a list of layers (tuple[int, ...] or None)."""
    return field(default=None, metadata={OPTION: Option(Kind.LAYERS, text)})


def only_one(given: Mapping[str, bool]) -> str | None:
    """Return the one pairing that was asked for, of `given` by option name; None for an edit list.

    Raises:
        OptionsError: No pairing is asked for, or several.
    """
    asked = [name for name, is_asked in given.items() if is_asked]
    if len(asked) != 1:
        ways = ", ".join(f"--{name}" for name in given)
        found = " and ".join(f"--{name}" for name in asked) or "none"
        raise OptionsError(f"give exactly one of {ways}, which pair the images; given: {found}")
    return None if asked[0] == "edit-list" else asked[0]


def listed_edits(source: str | None, roles: tuple[str, ...]) -> tuple[ListedEdit, ...] | None:
    """Return the rows of the edit list at `source`, whose columns of image ids are `roles`; None without a source."""
    if source is None:
        return None
    from i2s_batch.editing.edit_lists import read_edit_list  # needs pyarrow, which --help does not

    return tuple(read_edit_list(source, roles))
