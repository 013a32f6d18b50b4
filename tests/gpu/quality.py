"""Measure how good the latents of each precision are on a GPU, at full length, with the demo's trained generator.

    PYTHONPATH=. python3 tests/gpu/quality.py --out $OUT [--steps 5000] [--images 16] [--seconds 120]

One process a precision, side by side (a 64 x 64 generator leaves a large GPU mostly idle, so that they hardly disturb
each other; the seconds are not a benchmark). Every latent is judged in float32. Drawn faces with seeds that the
generator was not trained on. Needs torch, numpy and Pillow only. Writes OUT/quality.jsonl, one line for each precision.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

PRECISIONS = ("fp32", "bf16", "tf32", "fp64")
# Mixtures, to see what costs bfloat16 its quality: the last tenth of the steps in float32; one network in bfloat16.
MIXTURES = ("bf16, fp32 last", "bf16 generator", "bf16 VGG")


def measure_one(options: argparse.Namespace) -> None:
    """Embed all images in one precision and write their figures, image by image."""
    import numpy as np
    import torch

    from i2s_batch.bench import quality
    from i2s_batch.config import EmbedConfig
    from i2s_batch.demo.faces import NAMES, render
    from i2s_batch.inversion.numerics import set_numerics
    from i2s_batch.models import random_vgg, read_generator

    coordinates = np.random.default_rng(options.seed).standard_normal((options.images, len(NAMES)))
    faces = list(render(coordinates))
    generator, vgg = read_generator(Path("i2s_batch/demo/generator.safetensors")), random_vgg()
    config = EmbedConfig(steps=options.steps, batch_size=options.images)
    began = time.time()
    latents, seconds = embedded(options, generator, vgg, faces, config)
    set_numerics("fp32")
    judge = quality.networks(generator, vgg, options.device, "fp32")
    rows = [quality.evaluated(judge, *both) for both in zip(latents, faces, strict=True)]
    facts = {"precision": options.precision, "steps": options.steps, "columns": quality.COLUMNS, "rows": rows}
    facts |= {"torch": torch.__version__, "s_per_step_and_image": seconds, "s_all": round(time.time() - began, 1)}
    if options.device == "cuda":
        facts["device"] = torch.cuda.get_device_name()
    with Path(options.out, "quality.jsonl").open("a") as file:
        file.write(json.dumps(facts) + "\n")


def embedded(options: argparse.Namespace, generator: Any, vgg: Any, faces: list[Any], config: Any) -> tuple[Any, float]:
    """Return the latents, and the seconds a step and image."""
    import numpy as np
    import torch

    from i2s_batch.bench import quality
    from i2s_batch.inversion import Embedder

    if options.precision in PRECISIONS:
        return quality.embed(quality.networks(generator, vgg, options.device, options.precision), faces, config, False)
    narrow = quality.networks(generator, vgg, options.device, "bf16")
    full = quality.networks(generator, vgg, options.device, "fp32")
    if options.precision == "bf16 generator":
        return quality.embed((narrow[0], full[1]), faces, config, False)
    if options.precision == "bf16 VGG":
        return quality.embed((full[0], narrow[1]), faces, config, False)
    began = time.perf_counter()
    first = Embedder(*narrow, replace(config, steps=config.steps * 9 // 10))
    states = {one.image_id: one.state for one in first.embed((str(n), face) for n, face in enumerate(faces))}
    second = Embedder(*full, config)
    for number, face in enumerate(faces):
        second.put(str(number), face, states[str(number)])
    latents: dict[str, np.ndarray] = {}
    while second.in_flight:
        latents |= {one.image_id: one.latent for one in second.advance()}
    seconds = (time.perf_counter() - began) / (config.steps * len(faces))
    return [torch.from_numpy(latents[str(number)]) for number in range(len(faces))], seconds


def main() -> None:
    """Start one process for each precision and print the comparison with fp32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.environ.get("OUT") or "quality-out", help="Folder of the results.")
    parser.add_argument("--device", default="cuda", help="cuda or cpu.")
    parser.add_argument("--steps", type=int, default=5000, help="Optimizer steps per image (5000).")
    parser.add_argument("--images", type=int, default=16, help="Drawn faces to embed (16).")
    parser.add_argument("--seed", type=int, default=77, help="Seed of the drawn faces (77).")
    parser.add_argument("--seconds", type=float, default=120.0, help="Time limit in seconds for everything (120).")
    parser.add_argument(
        "--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS + MIXTURES, help="To compare."
    )
    parser.add_argument("--precision", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.precision:
        measure_one(options)
        return
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "quality.jsonl").unlink(missing_ok=True)
    deadline = time.monotonic() + options.seconds
    processes = [
        subprocess.Popen([sys.executable, *sys.argv, "--out", options.out, "--precision", name])
        for name in options.precisions
    ]
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    report(out / "quality.jsonl")


def report(path: Path) -> None:
    """Print every precision beside fp32: geometric mean ratios of losses, mean differences of PSNR and SSIM."""
    import numpy as np

    from i2s_batch.bench.quality import compare

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    reference = next((np.array(row["rows"]) for row in rows if row["precision"] == "fp32"), None)
    for row in rows:
        figures = compare(np.array(row["rows"]), np.array(row["rows"]) if reference is None else reference)
        print(json.dumps({k: v for k, v in row.items() if k != "rows"} | figures))


if __name__ == "__main__":
    main()
