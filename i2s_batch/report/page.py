"""report.html: one file that shows a run, with nothing to fetch and no script."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from i2s_batch.editing.strips import load_strips, strip_image
from i2s_batch.embedding.samples import Sample, load_samples
from i2s_batch.errors import RunConflictError
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_additions
from i2s_batch.report import charts
from i2s_batch.report.facts import Facts, gather
from i2s_batch.run.recorded import recorded_command
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import open_store
from i2s_batch.studies.page import write_study
from i2s_batch.table.shards import read_rows

SIDE = 192  # of a picture in the report
STRIP_SIDE = 96  # of a picture in a strip of edits
LEAST_SIDE = 96  # smaller ones are enlarged without smoothing
JPEG_QUALITY = 85
AMPLIFIED = 4  # the difference picture shows so many times the error

_TITLES = {
    "psnr": ("PSNR", "dB, of the final 8-bit picture; higher is better"),
    "ssim": ("SSIM", "1 is equal; higher is better"),
    "lpips": ("LPIPS", "0 is equal; lower is better"),
    "loss": ("Loss", "equation (1) of Image2StyleGAN at the stored latent; lower is better"),
    "w_distance": (
        "‖w* − w_avg‖",
        "distance to the mean latent, over all layers; large: far from what the network knows",
    ),
}


def write_report(out: str, generator: GeneratorWeights | None = None, why_none: str = "") -> str:
    """Write OUT/report.html from the table at `out`; its path or s3 url.

    Reconstructions are rendered from the latents with `generator`; without one, `why_none` stands in their
    place. Raises StorageError if there is no table, RunConflictError if it was made by another generator.
    """
    facts = gather(out)
    if generator is not None and generator.fingerprint != facts.fingerprints["generator"]:
        raise RunConflictError(
            f"{out} was made by the generator {facts.fingerprints['generator'][:12]}..., not by this one, "
            f"{generator.fingerprint[:12]}... ({generator.origin}); give the one that made it"
        )
    network = None if generator is None else build_generator(generator)
    store = open_store(out)
    check_additions(store, [RunLayout.report])
    html = _template().render(
        facts=facts,
        out=store.url,
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        study=_study(out, facts),
        # The pictures of a study are in its figures: not all are of this generator.
        groups=[] if facts.is_edit or facts.is_study else list(_groups(out, facts, network)),
        strips=list(_strips(out, network)) if facts.is_edit and network else [],
        why_none=why_none,
        summaries=[] if facts.is_study else list(_summaries(facts)),  # a mixture of variants says nothing
        settings=sorted(_flat({k: v for k, v in facts.settings.items() if k not in ("generator", "vgg")})),
        commands=_commands(store.url, facts, recorded_command(out)),
        amplified=AMPLIFIED,
        charts=charts,
        number=charts.number,
    )
    store.put(RunLayout.report, html.encode())
    return store.uri(RunLayout.report)


def _template() -> Any:
    # autoescape: file names and error texts come from other people
    loader = PackageLoader("i2s_batch.report", package_path="")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja")


def _groups(out: str, facts: Facts, generator: Generator | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The shown pictures by title, each as what the template needs."""
    for title, ids in facts.picks.items():
        samples = load_samples(read_rows(out, ids), generator, facts.settings["fit"])
        yield title, [_shown(sample) for sample in samples]


def _study(out: str, facts: Facts) -> dict[str, Any] | None:
    """What a study came to, as what the template needs."""
    if not facts.is_study:
        return None
    page = write_study(out, facts.settings)
    figures = {title: _inlined("png", data) for (_, title), data in page.figures.items()}
    return {"name": facts.settings["study"], "page": page, "figures": figures}


def _strips(out: str, generator: Generator) -> Iterator[dict[str, str]]:
    """Some edits as one picture each, before and after."""
    for strip in load_strips(out, generator):
        shown = _jpeg(strip_image(strip, STRIP_SIDE))
        yield {"name": strip.name, "caption": strip.caption, "alt": strip.alt, "picture": shown}


def _shown(sample: Sample) -> dict[str, Any]:
    difference = None
    if sample.original is not None and sample.reconstruction is not None:
        error = np.abs(sample.original.astype(np.int16) - sample.reconstruction)
        difference = np.minimum(error * AMPLIFIED, 255).astype(np.uint8)
    row = sample.row
    return {
        "image_id": row["image_id"],
        "caption": sample.caption,
        "missing": sample.missing,
        "distance": charts.number(row["w_distance"]),
        "pictures": [_data_uri(p) for p in (sample.original, sample.reconstruction, difference)],
    }


def _data_uri(picture: np.ndarray | None) -> str | None:
    if picture is None:
        return None
    image = Image.fromarray(picture)
    if image.width > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    elif image.width < LEAST_SIDE:
        factor = -(-LEAST_SIDE // image.width)
        image = image.resize((image.width * factor,) * 2, Image.Resampling.NEAREST)
    return _jpeg(image)


def _jpeg(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return _inlined("jpeg", stream.getvalue())


def _inlined(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _summaries(facts: Facts) -> Iterator[dict[str, Any]]:
    """Every metric that any image has: its name, what it means, its quantiles and its values."""
    for name, (title, meaning) in _TITLES.items():
        values = facts.metrics[name]
        if len(values):
            # of the ordered values themselves: an interpolation would turn an infinite PSNR into no number
            quantiles = np.quantile(values, (0.05, 0.5, 0.95), method="nearest").tolist()
            yield {"name": title, "meaning": meaning, "values": values, "quantiles": quantiles}


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ", ".join(map(str, item)) if isinstance(item, list) else str(item)


def _commands(url: str, facts: Facts, command: str | None) -> list[tuple[str, str]]:
    """What to do next, ready to paste."""
    quoted = shlex.quote(url)
    load = f"from i2s_batch import read_latents; print(read_latents({json.dumps(url)}).latents.shape)"
    made = [("The latents as one array", f"python -c {shlex.quote(load)}")]
    if not url.startswith("s3://"):
        rows = f"duckdb.read_parquet({json.dumps(url + '/latents/*.parquet')})"
        columns = '"image_id", "parents", "strength"' if facts.is_edit else '"image_id", "psnr", "loss"'
        query = f"import duckdb; {rows}.select({columns}).order({columns.split(',')[0 if facts.is_edit else 1]}).show()"
        what = "The table in DuckDB" if facts.is_edit else "The table in DuckDB, the worst first"
        made.append((what, f"python -c {shlex.quote(query)}"))
    if sum(facts.statuses.values()) > facts.statuses.get(STATUS_OK, 0):
        kind = "edit" if facts.is_edit else f"study {facts.settings['study']}" if facts.is_study else "embed"
        command = command or f"i2s-batch {kind} {shlex.quote(str(facts.settings['source']))} {quoted} --generator G"
        made.append(("Try the failed images again", f"{command} --retry-failed"))
    return [*made, ("Write this page again", f"i2s-batch report {quoted}")]
