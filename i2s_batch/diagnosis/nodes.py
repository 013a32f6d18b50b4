"""Examines every node of the cluster that a run would join, and lets one of its workers measure the speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from i2s_batch.config import RunConfig
from i2s_batch.diagnosis.apart import ApartError, call_apart
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.examination import examine
from i2s_batch.diagnosis.findings import Finding, Section, fail, warn
from i2s_batch.diagnosis.machine import size
from i2s_batch.diagnosis.node_report import NodeReport
from i2s_batch.diagnosis.speed import LIMIT_S as SPEED_LIMIT_S
from i2s_batch.diagnosis.speed_probe import Speed, SpeedAsked
from i2s_batch.diagnosis.versions import installed
from i2s_batch.diagnosis.workers import Workers
from i2s_batch.plurals import counted
from i2s_batch.run.ray import survey
from i2s_batch.run.ray.survey import Node

LIMIT_S = 600.0


@dataclass(frozen=True)
class _Examined:
    """Holds what a node sends back."""

    versions: tuple[str, ...]
    cores: float
    free_bytes: int | None
    sections: tuple[Section, ...]


def examine_node(asked: Asked) -> _Examined:
    """Return the findings of the node on which this is called, from an output and a machine as its workers see them."""
    known = Known()
    sections = tuple(examine(asked, known, lambda check: check.of_node))
    versions = tuple(installed(name) for name in ("i2s_batch", "torch"))
    return _Examined(versions, known.cores, known.memory_bytes, sections)


def reports(asked: Asked, nodes: Sequence[Node]) -> Iterator[NodeReport]:
    """Yield a report of each node."""
    here = tuple(installed(name) for name in ("i2s_batch", "torch"))
    for answer in survey.call_on(nodes, examine_node, lambda node: (asked.on_node(node.gpus),), LIMIT_S):
        node, found = answer.node, answer.result
        counts = f"{counted(node.cpus, 'CPU')}, {counted(node.gpus, 'GPU')}"
        if found is None:
            finding = fail("node", answer.fault, "install i2s_batch and its packages there, or mend the node")
            yield NodeReport(node.host, node.address, counts, (Section("node", "Node", (finding,)),))
            continue
        sections = found.sections
        if found.versions != here:
            sections = (*sections, Section("packages", "Packages", (_other_versions(found.versions, here),)))
        free = "" if found.free_bytes is None else f", {size(found.free_bytes)} free"
        summary = f"torch {found.versions[1]}, {counts} by Ray, {found.cores:g} cores{free}"
        yield NodeReport(node.host, node.address, summary, sections)


def _other_versions(there: tuple[str, ...], here: tuple[str, ...]) -> Finding:
    texts = [f"i2s_batch {ours}, torch {torch}" for ours, torch in (there, here)]
    found = f"{texts[0]} on this node, {texts[1]} where the run is started"
    return warn("packages", found, "install the same on every node: results may differ in their last digits")


def workers_of(config: RunConfig, nodes: Sequence[Node], images: int | None) -> Workers:
    """Return the workers that a run would have on the cluster: one a GPU, or without GPUs one a CPU."""
    gpus, cpus = (sum(getattr(node, name) for node in nodes) for name in ("gpus", "cpus"))
    device = "cuda" if config.device == "cuda" or (config.device == "auto" and gpus) else "cpu"
    count = config.actors or max(1, gpus if device == "cuda" else cpus)
    count = count if images is None else min(count, images)
    return Workers(count, device, None if device == "cuda" else max(1, cpus // count))


def measuring(nodes: Sequence[Node], device: str) -> Callable[[Callable[[SpeedAsked], Speed], SpeedAsked], Speed]:
    """Return what measures the speed on the first node that has the device, in a process of its own there."""
    suitable = [node for node in nodes if node.gpus or device == "cpu"] or list(nodes)

    def measured(function: Callable[[SpeedAsked], Speed], what: SpeedAsked) -> Speed:
        (answer,) = survey.call_on(suitable[:1], _apart, lambda node: (function, what), SPEED_LIMIT_S)
        if answer.result is None:
            raise ApartError(f"on node {answer.node.host} ({answer.node.address}): {answer.fault}")
        return answer.result

    return measured


def _apart(function: Callable[[SpeedAsked], Speed], what: SpeedAsked) -> Speed:
    return call_apart(function, what, limit_s=SPEED_LIMIT_S)
