"""Lists the published weights that are known by name. Standard library only, but for the licences.

The addresses are those of the projects' own documentation: the READMEs of NVlabs' stylegan, stylegan2-ada-pytorch and
stylegan3, `train.py` of stylegan2-ada-pytorch (what it offers for transfer learning), its README and `legacy.py` for
StyleGAN2, and torchvision. None of them could be tried where this was written. A hash stands here only where its owner
publishes one.

A further entry is a line below; another program adds its own with `PUBLISHED.add`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from i2s_batch.errors import ConfigError
from i2s_batch.weights.licences import CC_BY_NC, NVIDIA_ADA, NVIDIA_NC, NVIDIA_STYLEGAN3, TORCHVISION, Licence

IMAGENET = "imagenet"

_CDN = "https://nvlabs-fi-cdn.nvidia.com"
_ADA = f"{_CDN}/stylegan2-ada-pytorch/pretrained"
_TRANSFER = f"{_ADA}/transfer-learning-source-nets"
_NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files"
_DRIVE = "https://drive.google.com/uc?id="

Network = Literal["generator", "vgg"]


@dataclass(frozen=True)
class PublishedWeights:
    """Describes a published file of weights.

    Attributes:
        name: What users write and runs record: never renamed.
        family: stylegan1, stylegan2, stylegan3 or vgg16.
        summary: What it draws, or is for.
        address: The https:// address of the file.
        licence: The licence of the weights.
        page: The page of its project, where a new address would be found.
        size_bytes: The size of the file; None where it is not published.
        sha256: The first digits of its SHA-256, or all 64; "" where none are published.
        by_browser: Whether its server gives the file to a person with a browser only.
    """

    name: str
    family: str
    summary: str
    address: str
    licence: Licence
    page: str
    size_bytes: int | None = None
    sha256: str = ""
    by_browser: bool = False

    @property
    def network(self) -> Network:
        """Return which network it is: a generator, or the VGG-16 of the loss."""
        return "vgg" if self.family == "vgg16" else "generator"


class PublishedList:
    """Holds published weights by name, in the order in which they were added."""

    def __init__(self, *entries: PublishedWeights) -> None:
        self._entries: dict[str, PublishedWeights] = {}
        for entry in entries:
            self.add(entry)

    def __iter__(self) -> Iterator[PublishedWeights]:
        return iter(tuple(self._entries.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str) -> PublishedWeights:
        """Return the entry of a name; ConfigError, which says where the names are, for another."""
        if name not in self._entries:
            raise ConfigError(f"{name!r} names no published weights; `i2s-batch weights list` shows the names")
        return self._entries[name]

    def add(self, entry: PublishedWeights) -> None:
        """Add an entry; ConfigError if its name is taken or could be a path."""
        if entry.name in self._entries or "/" in entry.name or "." in entry.name:
            raise ConfigError(f"{entry.name!r} is taken, or looks like a path; give the weights another name")
        self._entries[entry.name] = entry

    def remove(self, name: str) -> None:
        """Remove the entry of a name."""
        del self._entries[self.get(name).name]


def _stylegan1(name: str, summary: str, drive_id: str) -> PublishedWeights:
    page = "https://github.com/NVlabs/stylegan"
    return PublishedWeights(name, "stylegan1", summary, _DRIVE + drive_id, CC_BY_NC, page, by_browser=True)


def _stylegan2(name: str, summary: str, file: str) -> PublishedWeights:
    address = f"{_CDN}/stylegan2/networks/{file}"
    return PublishedWeights(name, "stylegan2", summary, address, NVIDIA_NC, "https://github.com/NVlabs/stylegan2")


def _ada(name: str, summary: str, address: str) -> PublishedWeights:
    page = "https://github.com/NVlabs/stylegan2-ada-pytorch"
    return PublishedWeights(name, "stylegan2", summary, address, NVIDIA_ADA, page)


def _stylegan3(variant: str, data: str, side: int, summary: str) -> PublishedWeights:
    address = f"{_NGC}/stylegan3-{variant}-{data}-{side}x{side}.pkl"
    page = "https://github.com/NVlabs/stylegan3"
    name = f"stylegan3-{variant}-{data}{side}"
    return PublishedWeights(name, "stylegan3", summary, address, NVIDIA_STYLEGAN3, page)


_STYLEGAN3 = (
    ("ffhq", 1024, "Faces, aligned (FFHQ)."),
    ("ffhqu", 1024, "Faces, unaligned (FFHQ-U)."),
    ("ffhqu", 256, "Faces, unaligned (FFHQ-U)."),
    ("metfaces", 1024, "Portraits from museums, aligned (MetFaces)."),
    ("metfacesu", 1024, "Portraits from museums, unaligned (MetFaces-U)."),
    ("afhqv2", 512, "Cats, dogs and wild animals (AFHQv2)."),
)

PUBLISHED = PublishedList(
    _ada("ffhq1024", "Faces (FFHQ).", f"{_ADA}/ffhq.pkl"),
    _ada("ffhq512", "Faces (FFHQ).", f"{_TRANSFER}/ffhq-res512-mirror-stylegan2-noaug.pkl"),
    _ada("ffhq256", "Faces (FFHQ).", f"{_TRANSFER}/ffhq-res256-mirror-paper256-noaug.pkl"),
    _ada(
        "celebahq256",
        "Faces (CelebA-HQ).",
        f"{_TRANSFER}/celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl",
    ),
    _ada("lsundog256", "Dogs (LSUN).", f"{_TRANSFER}/lsundog-res256-paper256-kimg100000-noaug.pkl"),
    _ada("metfaces1024", "Portraits from museums (MetFaces).", f"{_ADA}/metfaces.pkl"),
    _ada("afhqcat512", "Cats (AFHQ).", f"{_ADA}/afhqcat.pkl"),
    _ada("afhqdog512", "Dogs (AFHQ).", f"{_ADA}/afhqdog.pkl"),
    _ada("afhqwild512", "Wild animals (AFHQ).", f"{_ADA}/afhqwild.pkl"),
    _stylegan2("stylegan2-ffhq1024", "Faces (FFHQ), configuration F.", "stylegan2-ffhq-config-f.pkl"),
    _stylegan2("stylegan2-cat256", "Cats (LSUN), configuration F.", "stylegan2-cat-config-f.pkl"),
    _stylegan2("stylegan2-church256", "Churches (LSUN), configuration F.", "stylegan2-church-config-f.pkl"),
    _stylegan2("stylegan2-horse256", "Horses (LSUN), configuration F.", "stylegan2-horse-config-f.pkl"),
    *(_stylegan3(variant, *each) for variant in ("t", "r") for each in _STYLEGAN3),
    _stylegan1("stylegan1-ffhq1024", "Faces (FFHQ), the paper's generator.", "1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ"),
    _stylegan1("stylegan1-celebahq1024", "Faces (CelebA-HQ).", "1MGqJl28pN4t7SAtSrPdSRJSQJqahkzUf"),
    _stylegan1("stylegan1-bedrooms256", "Bedrooms (LSUN).", "1MOSKeGF0FJcivpBI7s63V9YHloUTORiF"),
    _stylegan1("stylegan1-cats256", "Cats (LSUN).", "1MQywl0FNt6lHu8E_EUqnRbviagS7fbiJ"),
    PublishedWeights(
        IMAGENET,
        "vgg16",
        "The VGG-16 of the perceptual loss and of LPIPS (ImageNet).",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        TORCHVISION,
        "https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.vgg16.html",
        size_bytes=553_433_881,  # as the programs that have fetched it show
        sha256="397923af",  # of the file's name, as torch.hub checks it
    ),
)
