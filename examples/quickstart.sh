#!/bin/sh
# Dub the example clip with the example speech: sh examples/quickstart.sh
set -eu
cd "$(dirname "$0")/.."
. tests/environment.sh
prepare_venv ''
prepare_gl
.venv/bin/dubcli dub examples/media/franck.mp4 examples/media/speech.wav \
    --output examples/out.mp4 --overwrite
echo "Look at examples/out.mp4; the clip it was made from is examples/media/franck.mp4."
