#!/usr/bin/env bash
# Voice with GStreamer's RTP, SRTP and Opus in place of ours: installs what gstreamer.py needs (Debian)
# and runs it with these arguments. For example, with a server from ./scripts/run:
#   export PATH=$PATH:$PWD/target/release ECHOMESH_USER=gst ECHOMESH_PASSWORD=secret
#   docs/examples/gstreamer.sh hall --tone 440 --heard heard.wav --for 10
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../scripts/need"
need_packages python3 python3-gi gir1.2-gstreamer-1.0 gir1.2-glib-2.0 gstreamer1.0-tools \
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
# Debian's Python: its packages are what was installed.
exec /usr/bin/python3 "$here/gstreamer.py" "$@"
