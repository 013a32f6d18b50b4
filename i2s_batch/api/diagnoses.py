"""`doctor()` examines this machine, or every node of a cluster, before anything is embedded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Unpack

from i2s_batch.api.options import EmbedOptions, embed_run_config, output, source_options
from i2s_batch.argument_types import path_or_url
from i2s_batch.config import EmbedRunConfig, Json, RunConfig
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.clusters import joins_cluster
from i2s_batch.diagnosis.examination import examine
from i2s_batch.diagnosis.findings import FAIL, Finding, Section, fail, fault, worst
from i2s_batch.diagnosis.node_report import NodeReport
from i2s_batch.diagnosis.registered import Check
from i2s_batch.errors import ClusterError, ConfigError


@dataclass(frozen=True)
class Diagnosis:
    """Holds what the doctor found.

    Attributes:
        sections: The findings about this machine and the run, by group.
        nodes: What was found on each node of a cluster; empty without one.
    """

    sections: tuple[Section, ...]
    nodes: tuple[NodeReport, ...] = ()

    @property
    def state(self) -> str:
        """Return the worst state: ok, warn, or fail."""
        return worst([*(each.state for each in self.sections), *(each.state for each in self.nodes)])

    @property
    def sound(self) -> bool:
        """Return whether a run would not fail by what was examined."""
        return self.state != FAIL

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return every finding, those of the nodes last."""
        sections = (*self.sections, *(section for node in self.nodes for section in node.sections))
        return tuple(each for section in sections for each in section.findings)

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON values."""
        sections: list[Json] = [each.to_json() for each in self.sections]
        nodes: list[Json] = [each.to_json() for each in self.nodes]
        return {"state": self.state, "sections": sections, "nodes": nodes}


def doctor(
    source: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    generator: str | os.PathLike[str] | None = None,
    vgg: str | os.PathLike[str] = "imagenet",
    price_per_hour: float | None = None,
    **options: Unpack[EmbedOptions],
) -> Diagnosis:
    """Examine whether a run of embed() with these arguments would work here, and how long it would take.

    Nothing is embedded, and nothing left behind but caches: weights that had to be fetched, and the speed that was
    measured. Some checks run in processes of their own, which import the script that calls: there the call belongs
    below `if __name__ == "__main__":`.

    Args:
        source: The images; None leaves them out.
        out: The output; None leaves it out.
        generator: The checkpoint; without one no speed is measured.
        vgg: The weights of the VGG-16.
        price_per_hour: The price of one worker's device, for the price of the run.
        **options: Those of embed().

    Raises:
        ConfigError: An option is unknown, of another type, or outside its limits.
    """
    asked = asked_of(source, out, generator, vgg, price_per_hour, options)
    parts = list(examination(asked, lambda line: None))
    sections = tuple(part for part in parts if isinstance(part, Section))
    return Diagnosis(sections, tuple(part for part in parts if isinstance(part, NodeReport)))


def asked_of(
    source: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    generator: str | os.PathLike[str] | None,
    vgg: str | os.PathLike[str],
    price_per_hour: float | None,
    options: EmbedOptions,
) -> Asked:
    """Return what is examined, from the arguments of doctor(), checked as embed() checks them."""
    if price_per_hour is not None and not 0 < price_per_hour < float("inf"):
        raise ConfigError(f"price per hour is {price_per_hour}; it must be finite and above 0")
    config, learned = embed_run_config(options), None
    config = replace(config, precision=_precision(config))
    networks = ("" if generator is None else path_or_url("generator", generator), path_or_url("vgg", vgg))
    if generator is not None:
        from i2s_batch.api.learned_files import learned_location, with_learned  # imports PyTorch, which may be broken

        config, learned = with_learned(config, learned_location(options), *networks)
    return Asked(
        config,
        "" if source is None else path_or_url("source", source),
        "" if out is None else output("out", out),
        *networks,
        source_options(options, options.get("sample")),
        learned,
        price_per_hour,
    )


def _precision(config: EmbedRunConfig) -> str:
    """Return the precision of a run here; float32 where PyTorch cannot be imported, of which a check has a finding."""
    try:
        from i2s_batch.inversion.precision import device_precision
    except (ImportError, OSError):
        return RunConfig.precision
    return device_precision(config.precision, config.device).precision


def examination(asked: Asked, show: Callable[[str], None]) -> Iterator[Section | NodeReport]:
    """Yield what is found, as soon as it is known; on a cluster also a report of each node.

    Args:
        asked: The run that is asked about.
        show: Shows what is being done.
    """
    known = Known(show=show)
    try:
        is_joined = joins_cluster(asked.config)
    except ClusterError:  # the check of the cluster has a finding of it
        is_joined = True
    yield from examine(asked, known, _before_nodes if is_joined else lambda check: True)
    if not is_joined or "cluster" in known.failed:
        return
    try:
        yield from _on_nodes(asked, known)
    except ClusterError as error:
        yield Section("cluster", "Ray", (fault("cluster", error),))
    except ImportError as error:
        yield Section("cluster", "Nodes", (fail("nodes", f"not looked at: {error}", "mend the installation first"),))


def _on_nodes(asked: Asked, known: Known) -> Iterator[Section | NodeReport]:
    """Yield a report of each node of the cluster, and then how fast one of its workers is."""
    from i2s_batch.diagnosis.nodes import measuring, reports, workers_of
    from i2s_batch.run.ray.survey import joined_cluster, living_nodes

    known.show("joining the cluster")
    with joined_cluster():
        nodes = living_nodes()
        known.show("examining the nodes")
        yield from reports(asked, nodes)
        images = None if known.images is None else known.images.num_rows
        known.workers = workers_of(asked.config, nodes, images)
        known.on_worker = measuring(nodes, known.workers.device)
        yield from examine(asked, known, lambda check: check.name == "speed")


def _before_nodes(check: Check) -> bool:
    """Return whether a group is of the machine where the run is started, also where its workers are elsewhere."""
    return check.name not in ("speed", "devices", "compiler")
