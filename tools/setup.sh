#!/bin/sh
# Installs the Debian packages that building Carat needs, and only those that are missing: `tools/setup.sh`. With
# `bench` also what the peers of `make bench` need. Uses apt-get, as root or through sudo, and says what it does.
set -eu
export LC_ALL=C

packages="gcc make pkg-config meson ninja-build libc6-dev libdnnl-dev libopenblas-dev liblapacke-dev
libyaml-dev libutf8proc-dev libpcre2-dev zlib1g-dev libcairo2-dev libcmocka-dev python3"
if [ "${1:-}" = bench ]; then
    # PyTorch's compiler calls a C++ compiler; its guide to speed advises tcmalloc.
    packages="$packages python3-venv g++ libtcmalloc-minimal4 libxnnpack-dev libpthreadpool-dev"
fi

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1)" = installed ]
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    missing=
    for program in gcc make pkg-config meson ninja python3; do
        command -v "$program" >/dev/null || missing="$missing $program"
    done
    if [ -n "$missing" ]; then
        echo "setup: this is no Debian (no apt-get); please install:$missing" >&2
        echo "setup: and the libraries oneDNN, OpenBLAS, LAPACKE, libyaml, utf8proc, PCRE2, cairo, cmocka" >&2
        exit 1
    fi
    echo "setup: no apt-get here; going on with the tools that are installed"
    exit 0
fi

missing=
for package in $packages; do
    installed "$package" || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "setup: all packages are installed"
    exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "setup: packages are missing, and this is neither root nor is there sudo. As root, run:" >&2
    echo "    apt-get update && apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

install_missing() {
    # shellcheck disable=SC2086 # a list of packages, and perhaps no sudo
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
        -o Dpkg::Use-Pty=0 $missing </dev/null
}
known() {
    for package in $missing; do
        apt-cache show --no-all-versions "$package" >/dev/null 2>&1 || return 1
    done
}

echo "setup: installing with apt-get:$missing"
if ! known || ! install_missing; then
    echo "setup: fetching the lists of packages (apt-get update)"
    $as_root apt-get update --quiet </dev/null || {
        echo "setup: apt-get update failed; is this machine connected to a Debian mirror?" >&2
        exit 1
    }
    install_missing || {
        echo "setup: apt-get could not install:$missing" >&2
        exit 1
    }
fi
for package in $missing; do
    installed "$package" || {
        echo "setup: $package is still not installed" >&2
        exit 1
    }
done
echo "setup: done"
