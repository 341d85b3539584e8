#!/bin/bash
# As NGC images do it: banner lines first, whatever the command is; then the command.
cat <<'BANNER'

=============================
== Stand-in for NVIDIA NGC ==
=============================

A simulator for tests: no NVIDIA software is in this image, and no GPU is used.

BANNER
[ -e /dev/nvidiactl ] || echo "WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available."
echo
exec "$@"
