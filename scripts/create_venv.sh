#!/usr/bin/env bash
# Creates .venv beside this project and installs the node with everything its tests need.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "dicom-node needs Python 3.11 or newer; '$PYTHON' is older. Say which to use: make PYTHON=/path/to/python3.11" >&2
  exit 1
fi
if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing python3-venv ..."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  else
    echo "Python's venv module is missing. Run: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
echo "Installing the node and its libraries into .venv (the first time takes a few minutes) ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' 2>&1 | { grep -v -e '^WARNING: Location' || true; }
test -x .venv/bin/dicom-node
if ! .venv/bin/python -c 'import dicom_node.scp._pump' 2>/dev/null; then
  echo "Note: no C compiler or no Python.h (Debian: gcc python3-dev). The node works; small instances are received at about half the speed."
fi
