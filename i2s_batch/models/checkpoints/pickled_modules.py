"""This module reads pickled PyTorch modules as data: which names they refer to, their attributes, parts and tensors.

NVIDIA's programs pickle a module as a call with its attributes and the source text of its class, which is ignored; all
others as an object of a class that exists only by name. Nothing is imported, looked up or called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from i2s_batch.models.checkpoints.restricted import Budget, Constructor, Record, Rules, new_dict
from i2s_batch.models.checkpoints.torch_tensors import STATE_DICT_CONSTRUCTORS, STATE_DICT_NAMES

PERSISTENT_MODULE = "torch_utils.persistence._reconstruct_persistent_obj"

# Python 2's names of the builtins are those of pickle protocol 2, which torch.save writes.
_SETS = ("builtins.set", "__builtin__.set")
_ENCODE = "_codecs.encode"
_NUMPY = frozenset(
    {"numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.ndarray", "numpy.dtype"}
)
_NAMES = frozenset(
    {
        *STATE_DICT_NAMES,
        *_NUMPY,
        *_SETS,
        _ENCODE,
        PERSISTENT_MODULE,
        "dnnlib.util.EasyDict",
        "torch.Size",
        "torch.device",
        "torch.float16",
        "torch.float32",
        "torch.nn.functional.leaky_relu",
    }
)
# Classes and functions of PyTorch's own modules, and the classes of the programs whose networks are read here: a class
# is known by its name, wherever a program keeps it.
_PREFIXES = ("torch.nn.modules.", "torch.nn.parallel.")
_CLASSES = frozenset(
    {
        *("Generator", "StyledGenerator", "StyleGAN2Generator", "StyleGAN2GeneratorClean", "StyledConvBlock"),
        *("AdaptiveInstanceNorm", "Blur", "ConstantInput", "EqualConv2d", "EqualLR", "EqualLinear", "FusedLeakyReLU"),
        *("FusedUpsample", "ModulatedConv2d", "NoiseInjection", "NormStyleCode", "PixelNorm", "ScaledLeakyReLU"),
        *("StyleConv", "StyledConv", "ToRGB", "UpFirDnSmooth", "UpFirDnUpsample", "Upsample"),
    }
)


def _listed(args: tuple[object, ...], budget: Budget) -> list[object]:
    """Return the list that stands for a set."""
    return args[0] if args and isinstance(args[0], list) else []


def _encoded(args: tuple[object, ...], budget: Budget) -> memoryview | Record:
    """Return a byte string, which pickle protocol 2 writes as text; those of a network are a number's."""
    match args:
        case (str() as text, "latin1"):
            budget.spend(len(text))
            return memoryview(text.encode("latin-1"))
    return Record(_ENCODE, args)


_CONSTRUCTORS: dict[str, Constructor] = {
    **STATE_DICT_CONSTRUCTORS,
    **dict.fromkeys(_SETS, _listed),
    "dnnlib.util.EasyDict": new_dict,
    _ENCODE: _encoded,
}

# Gives the object that a persistent id stands for.
Persistent = Callable[[Any], Any]


def module_rules(
    what: str, persistent: Persistent | None, *names: str, constructors: Mapping[str, Constructor] | None = None
) -> Rules:
    """Return what a file with modules or state dicts may refer to, and in this one also `names` and `constructors`."""
    more = constructors or {}
    return Rules(what, _NAMES | {*names, *more}, {**_CONSTRUCTORS, **more}, persistent, _PREFIXES, _CLASSES)


class Entries(Mapping[str, object]):
    """Holds the entries of a dictionary in a file that have a name, as pickled, unchecked."""

    # `object`: a pickle may hold anything; it is narrowed where it is read.
    def __init__(self, *dictionaries: Mapping[Any, object]) -> None:
        named = (item for entries in dictionaries for item in entries.items())
        self._entries = {name: value for name, value in named if isinstance(name, str)}

    def __getitem__(self, name: str) -> object:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True)
class ModuleState:
    """Holds the attributes of a pickled module, and the tables of its parts, all by name and unchecked."""

    attributes: Entries
    modules: Entries
    parameters: Entries
    buffers: Entries

    @classmethod
    def of(cls, value: object) -> ModuleState | None:
        """Return the state of a value that stands for a module; None of anything else."""
        attributes = _attributes_of(value)
        if attributes is None:
            return None
        tables = (attributes.get("_modules"), attributes.get("_parameters"), attributes.get("_buffers"))
        match tables:
            case (dict() as modules, dict() as parameters, dict() as buffers):
                return cls(Entries(attributes), Entries(modules), Entries(parameters), Entries(buffers))
        return None

    @property
    def members(self) -> Entries:
        """Return the modules, parameters and buffers."""
        return Entries(self.modules, self.parameters, self.buffers)


def _attributes_of(value: object) -> dict[str, object] | None:
    """Return what is pickled as the attributes of an object; None of anything else."""
    if not isinstance(value, Record):
        return None
    attributes = value.state
    if value.name == PERSISTENT_MODULE:
        meta = value.args[0] if value.args else None
        attributes = meta.get("state") if isinstance(meta, dict) else None
    return attributes if isinstance(attributes, dict) else None


def is_module(value: object) -> TypeGuard[Record]:
    """Return whether a value of a pickle stands for a module."""
    attributes = _attributes_of(value) or {}
    return all(isinstance(attributes.get(table), dict) for table in ("_modules", "_parameters", "_buffers"))
