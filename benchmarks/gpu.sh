#!/usr/bin/env bash
# Measures engines beside torch on this host. Needs the repository and Python; installs what it can from the package registry into a
# virtual environment of its own (.cache/gpu-benchmark), unless the present Python, or the one in .venv, has what is needed.
# On a host without a GPU it says so and runs small networks on the CPU. Arguments go to benchmarks/gpu.py (--json, --repeats, --studies).
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD"

usable() { # the program's own imports; the engine is optional and says itself why it is not there
  "$1" -c 'import torch, onnx, onnxruntime, dicom_node.inference.backends' 2>/dev/null
}

python=""
for candidate in "${PYTHON:-}" .venv/bin/python "$(command -v python3 || true)" .cache/gpu-benchmark/bin/python; do
  if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && usable "$candidate"; then
    python="$candidate"
    break
  fi
done

if [ -z "$python" ]; then
  echo "Installing into .cache/gpu-benchmark ..." >&2
  base="${PYTHON:-$(command -v python3.11 || command -v python3)}"
  "$base" -m venv .cache/gpu-benchmark
  python=.cache/gpu-benchmark/bin/python
  "$python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 >&2
  "$python" -m pip install --quiet --disable-pip-version-check --editable . >&2
  extras=(openvino==2026.4.1)
  if "$python" dicom_node/inference/engines/probe.py | grep -q '"index"'; then
    extras+=("tensorrt>=10.16,<12" tensorrt-rtx-cu13==1.7.1.116 pycuda==2026.1)
  fi
  for extra in "${extras[@]}"; do
    if ! "$python" -m pip install --quiet --disable-pip-version-check "$extra" >.cache/gpu-benchmark/pip.log 2>&1; then
      echo "Not installed: $extra (its column will say so; pip's words are in .cache/gpu-benchmark/pip.log)" >&2
    fi
  done
fi

exec "$python" benchmarks/gpu.py "$@"
