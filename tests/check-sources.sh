#!/bin/sh
# Fails when a file was added or removed since this build was configured: `make` would have noticed.
set -eu
"$(dirname "$0")/../tools/list-sources.sh" all | diff "$1" - || {
    echo "The list of sources has changed; run: make (or meson setup --reconfigure BUILD)" >&2
    exit 1
}
