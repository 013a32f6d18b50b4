"""Knows the licences of published weights, and records those that the user has accepted.

The record is a file in the folder of caches, `accepted-licences.json`: whoever shares a cache shares what was accepted.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from i2s_batch.errors import ConfigError, StorageError
from i2s_batch.storage.cache_folder import cache_folders
from i2s_batch.storage.files import local_error, written_whole

RECORD = "accepted-licences.json"


@dataclass(frozen=True)
class Licence:
    """Describes a licence of weights.

    Attributes:
        name: Its name, as its owner writes it.
        address: Where its text is.
        summary: One sentence.
        is_asked: Whether it has to be accepted before a file is fetched.
    """

    name: str
    address: str
    summary: str
    is_asked: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


_RESEARCH = "For research or evaluation, not commercially."

CC_BY_NC = Licence(
    "CC BY-NC 4.0",
    "https://creativecommons.org/licenses/by-nc/4.0/",
    "For any purpose that is not commercial, with credit and changes indicated.",
)
NVIDIA_NC = Licence("Nvidia Source Code License-NC", "https://nvlabs.github.io/stylegan2/license.html", _RESEARCH)
NVIDIA_ADA = Licence(
    "NVIDIA Source Code License", "https://nvlabs.github.io/stylegan2-ada-pytorch/license.html", _RESEARCH
)
NVIDIA_STYLEGAN3 = Licence(
    "NVIDIA Source Code License", "https://github.com/NVlabs/stylegan3/blob/main/LICENSE.txt", _RESEARCH
)
TORCHVISION = Licence(
    "BSD 3-Clause License",
    "https://github.com/pytorch/vision/blob/main/LICENSE",
    "The licence of torchvision, which states none for its weights by themselves: they were learnt from ImageNet.",
    is_asked=False,
)


def is_accepted(licence: Licence) -> bool:
    """Return whether the licence need not be accepted, or has been."""
    return not licence.is_asked or any(licence.address in _recorded(folder) for folder in cache_folders())


def accept(licence: Licence) -> None:
    """Record that the user has accepted a licence, in the first folder of caches that can be written to.

    Raises:
        ConfigError: There is none.
    """
    if is_accepted(licence):
        return
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    refusal = "there is no home and no folder for temporary files"
    for folder in cache_folders():
        accepted = {**_recorded(folder), licence.address: f"{licence.name}, {now}"}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with written_whole(folder / RECORD) as file:
                file.write(json.dumps(accepted, indent=1, sort_keys=True).encode())
            return
        except StorageError as error:
            refusal = str(error)
        except OSError as error:
            refusal = str(local_error(error, str(folder)))
    raise ConfigError(
        f"that {licence.name} is accepted cannot be recorded ({refusal}); "
        "set I2S_CACHE to a folder that can be written to"
    )


def _recorded(folder: Path) -> Mapping[str, str]:
    """Return the licences that a folder records as accepted: by address, their name and when."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / RECORD).read_bytes())
        if isinstance(found, dict):
            return {str(address): str(when) for address, when in found.items()}
    return {}
