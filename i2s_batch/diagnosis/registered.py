"""Registers the groups of checks, in the order in which they are carried out and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from i2s_batch.registry import Declaration, Registry

if TYPE_CHECKING:
    from i2s_batch.diagnosis.asked import Asked, Known
    from i2s_batch.diagnosis.findings import Finding

    Examine = Callable[[Asked, Known], Iterator[Finding]]


@dataclass(frozen=True)
class Check(Declaration["Examine"]):
    """Declares a group of checks; its summary is the heading over its findings.

    Args:
        cheap: Whether it takes so little time that each `embed` begins with it.
        of_node: Whether its findings differ between the nodes of a cluster.
        needs: Fields of `Asked` that must be given for it.
        after: Groups without whose success it has nothing to work with.
    """

    cheap: bool = False
    of_node: bool = False
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


CHECKS: Registry[Check] = Registry(
    "check",
    [
        Check("versions", "Versions", "i2s_batch.diagnosis.versions:check", cheap=True, of_node=True),
        Check("machine", "Cores and memory", "i2s_batch.diagnosis.machine:check", cheap=True, of_node=True),
        Check("folders", "Folders", "i2s_batch.diagnosis.folders:check", cheap=True, of_node=True),
        Check("devices", "Devices", "i2s_batch.diagnosis.devices:check", of_node=True),
        Check("compiler", "Compiler", "i2s_batch.diagnosis.compiler:check", of_node=True),
        Check("cluster", "Ray", "i2s_batch.diagnosis.clusters:check"),
        Check("output", "OUT", "i2s_batch.diagnosis.output:check", of_node=True, needs=("out",)),
        Check("source", "SOURCE", "i2s_batch.diagnosis.source:check", needs=("source",)),
        Check("networks", "Networks", "i2s_batch.diagnosis.networks:check", needs=("generator",)),
        Check("speed", "Speed", "i2s_batch.diagnosis.speed:check", needs=("generator",), after=("networks", "devices")),
    ],
)
