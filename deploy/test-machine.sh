#!/bin/sh
# Readies this machine for the tests that need Docker: engine, a running daemon, the base image.
# Installs on Debian as root; elsewhere it says what is missing. With `docker` in STOCKYARD_REQUIRE a missing part is an error,
# else the tests that need it are skipped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

missing() {
    case ",${STOCKYARD_REQUIRE:-}," in
        *,docker,*) echo "$1" >&2; exit 1 ;;
        *) echo "$1 (the tests that need it are skipped)" >&2; exit 0 ;;
    esac
}

packages=
command -v dockerd >/dev/null 2>&1 || [ -x /usr/sbin/dockerd ] || packages="$packages docker.io"
command -v iptables >/dev/null 2>&1 || [ -x /usr/sbin/iptables ] || packages="$packages iptables"
command -v debootstrap >/dev/null 2>&1 || [ -x /usr/sbin/debootstrap ] || packages="$packages debootstrap"
command -v ip >/dev/null 2>&1 || [ -x /usr/sbin/ip ] || packages="$packages iproute2"
command -v curl >/dev/null 2>&1 || packages="$packages curl"
command -v taskset >/dev/null 2>&1 || packages="$packages util-linux"
if [ -n "$packages" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        missing "missing:$packages"
    fi
    echo "installing$packages"
    apt-get update -qq
    # shellcheck disable=SC2086 -- one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >/dev/null
fi

if ! docker version >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || missing "no Docker engine answers"
    echo "starting dockerd"
    log=$(mktemp /tmp/dockerd.XXXXXX.log)
    # Containers outlive a restart of the engine, as docs/cloud.md advises operators.
    PATH="$PATH:/usr/sbin:/sbin" setsid dockerd --live-restore >"$log" 2>&1 &
    tries=0
    until docker version >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 120 ] || { tail -n 20 "$log" >&2; missing "dockerd did not start"; }
        sleep 0.5
    done
fi

if ! docker image inspect "${BASE:-python:3.11-slim}" >/dev/null 2>&1; then
    echo "fetching ${BASE:-python:3.11-slim}"
    timeout 120 docker pull -q "${BASE:-python:3.11-slim}" >/dev/null 2>&1 || "$here/base-image.sh" "${BASE:-python:3.11-slim}"
fi
