# A worker inside the image that the training job uses: a preflight is worth what its libraries have in common with the
# job's. Nothing of the image's own Python is changed; the worker lives in an environment of its own.
#   docker build -f deploy/docker/worker.Dockerfile --build-arg TRAINING_IMAGE=registry.example/team/train:2026-11 -t hotfire-worker .
#
# Wanted of the training image: a Python of 3.11 or newer with pip, torch, deepspeed, transformers and accelerate, and a
# C++ compiler if DeepSpeed is to build its ops.
ARG TRAINING_IMAGE
FROM ${TRAINING_IMAGE}

# The interpreter that the job runs with, where it is not `python3` on PATH (conda, a venv).
ARG TRAINING_PYTHON=python3

USER 0
WORKDIR /opt/hotfire-src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY client client
COPY service service
COPY workers workers
# /opt/hotfire: the worker and its libraries, no torch. /opt/hotfire-train: our code alone, which the ranks get by
# PYTHONPATH; they need nothing that a training image does not have.
RUN "$TRAINING_PYTHON" -m venv --without-pip /opt/hotfire \
 && "$TRAINING_PYTHON" -m pip --python /opt/hotfire/bin/python install --no-cache-dir -c constraints.txt '.[worker]' \
 && "$TRAINING_PYTHON" -m pip install --no-cache-dir --no-deps --target /opt/hotfire-train .
RUN useradd --uid 10001 --user-group --home-dir /var/lib/hotfire --no-log-init --shell /usr/sbin/nologin hotfire \
 && install -d -o hotfire -g hotfire -m 0750 /var/lib/hotfire /var/lib/hotfire/artifacts /var/cache/hotfire
ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/hotfire-train \
    HOTFIRE_WORKER_PYTHON=$TRAINING_PYTHON \
    HOTFIRE_WORKER_CACHE_DIR=/var/cache/hotfire \
    HOTFIRE_STORE_ARTIFACTS_URL=/var/lib/hotfire/artifacts \
    HOME=/var/lib/hotfire
USER 10001:10001
WORKDIR /var/lib/hotfire

# DeepSpeed's ops. A worker builds what is missing at its first start, into /var/cache/hotfire: a minute on a CPU, nothing
# with NCCL. To build in the image instead (`comm`; `all` adds fused_adam and cpu_adam, 2 to 4 minutes each), pass
#   --build-arg PREBUILD=all --build-arg ACCELERATOR=cuda
# A build machine needs no GPU for that, but TORCH_CUDA_ARCH_LIST (9.0 is an H100), because there is none to ask. The
# rehearsal trials, which do need one, fail there and are made up for at the first start.
ARG PREBUILD=none
ARG ACCELERATOR=cuda
ARG TORCH_CUDA_ARCH_LIST=
RUN if [ "$PREBUILD" != none ]; then \
      DS_ACCELERATOR="$ACCELERATOR" TORCH_CUDA_ARCH_LIST="$TORCH_CUDA_ARCH_LIST" \
        "$TRAINING_PYTHON" -m hotfire_workers.train.setup --ops "$PREBUILD" --cache-dir /var/cache/hotfire; \
    fi

# Alive: the worker's main process has beaten its heart within two minutes, with or without Redis.
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["/opt/hotfire/bin/python", "-m", "hotfire_workers.probe"]
STOPSIGNAL SIGTERM
CMD ["/opt/hotfire/bin/hotfire", "worker"]
