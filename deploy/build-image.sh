#!/bin/sh
# Builds the instances' image, and first the base image where there is none and no registry gives one.
#
#   deploy/build-image.sh [--if-missing] [NAME:TAG]
set -eu

if_missing=no
[ "${1:-}" = --if-missing ] && { if_missing=yes; shift; }
image=${1:-stockyard-instance:latest}
base=${BASE:-python:3.11-slim}
here=$(cd "$(dirname "$0")" && pwd)

docker version >/dev/null 2>&1 || { echo "no Docker engine answers: start one, or use RUNTIME=process" >&2; exit 1; }
if [ $if_missing = yes ] && docker image inspect "$image" >/dev/null 2>&1; then exit 0; fi

if ! docker image inspect "$base" >/dev/null 2>&1; then
    echo "fetching $base"
    timeout 120 docker pull -q "$base" 2>/dev/null || "$here/base-image.sh" "$base"
fi
echo "building $image"
docker build -q --build-arg "BASE=$base" -f "$here/../Dockerfile.instance" -t "$image" "$here/.."
