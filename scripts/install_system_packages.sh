#!/usr/bin/env bash
# The tests run against real peers, DCMTK's tools and Debian's Orthanc, compile a shim that cuts system calls, see a real head, and run a web viewer's code. Installs what is missing, or says how.
set -euo pipefail
missing=()
[ -x /usr/bin/storescu ] || missing+=(dcmtk)
[ -x /usr/bin/gcc ] && [ -e /usr/include/dlfcn.h ] || missing+=(gcc libc6-dev)
[ -x /usr/sbin/Orthanc ] || missing+=(orthanc)
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc-dicomweb)
command -v npm >/dev/null || missing+=(nodejs npm)
[ -e /usr/share/mricron/templates/ch2.nii.gz ] || missing+=(mricron-data)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "The tests need system packages that are not here. Run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "Installing ${missing[*]} ..."
# Debian's package starts Orthanc on port 4242; the tests start their own on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
