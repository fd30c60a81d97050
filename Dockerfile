# CPU image. Never built by this project yet: no Docker engine was at hand. What is tested is `make` on a plain machine.
FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN apt-get update \
 && apt-get install --no-install-recommends --yes git make \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1001 dlrm
WORKDIR /home/dlrm/kit
COPY --chown=dlrm:dlrm . .
USER dlrm
# Address of a package index that serves a CPU build of torch; empty takes PyPI's, with CUDA.
ARG TORCH_INDEX=""
RUN make .venv/.installed TORCH_INDEX="${TORCH_INDEX}"
EXPOSE 8888
CMD [".venv/bin/jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--notebook-dir=notebooks"]
