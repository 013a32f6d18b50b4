# An image with `i2s-batch` for Linux on x86-64, in two variants:
#
#   docker build --target cuda --tag i2s-batch:cuda .
#   docker build --target cpu --tag i2s-batch:cpu --build-arg TORCH_INDEX=ADDRESS .
#
# ADDRESS is the index of CPU-only builds that PyTorch's install page names. Without it the cpu variant gets the default
# builds, which work without a GPU and bring 4 GB of CUDA libraries.
#
#   docker run --rm --gpus all --shm-size 8g --user "$(id -u):$(id -g)" --volume "$PWD:/data" \
#       i2s-batch:cuda embed images latents --generator stylegan2.pkl
#
# The host needs NVIDIA's driver and container toolkit for --gpus. Ray keeps objects in shared memory: --shm-size, or one
# GPU without Ray: `embed --in-process`.

FROM debian:bookworm-slim AS base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# ffmpeg makes MP4 animations. Versions are those of the Debian release: its security updates are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates ffmpeg python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/i2s-batch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN python3 -m venv /opt/i2s-batch


FROM base AS build-cpu

ARG TORCH_INDEX=""
# torch and torchvision are a pair of one release: both come from the same index.
# hadolint ignore=DL3013
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.10" "torchvision>=0.25"

COPY pyproject.toml README.md LICENSE /src/
COPY i2s_batch /src/i2s_batch
RUN pip install /src


FROM base AS build-cuda

# hadolint ignore=DL3013
RUN pip install "torch>=2.10" "torchvision>=0.25"

COPY pyproject.toml README.md LICENSE /src/
COPY i2s_batch /src/i2s_batch
RUN pip install /src


FROM base AS runtime

# Whoever runs the container may be any user (--user): caches go to a home that all may write.
RUN useradd --uid 1000 --home-dir /home/i2s --create-home i2s \
    && chmod 1777 /home/i2s \
    && mkdir --mode 1777 /data

ENV HOME=/home/i2s
WORKDIR /data
ENTRYPOINT ["i2s-batch"]
CMD ["--help"]


FROM runtime AS cpu

COPY --from=build-cpu /opt/i2s-batch /opt/i2s-batch
USER 1000:1000


FROM runtime AS cuda

# PyTorch's compiler for GPUs (Triton) calls a C compiler, and needs Python's headers.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*

COPY --from=build-cuda /opt/i2s-batch /opt/i2s-batch
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
