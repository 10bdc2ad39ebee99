#!/bin/sh
# Makes the image that the Dockerfiles start from (python:3.11-slim) out of this machine's Debian mirror, for machines that
# reach no registry: Debian 12 with its Python 3.11, pip and venv. An image of that name that is already here is left alone.
#
#   deploy/base-image.sh [NAME:TAG]
set -eu

image=${1:-python:3.11-slim}
suite=bookworm

if docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image is here already"
    exit 0
fi
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "debootstrap needs root: sudo $0 $*" >&2; exit 1; }

# The mirror that this machine itself uses, in either form of apt's sources.
mirror=$(
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n -e 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' \
               -e 's/^deb[[:space:]]\(\[[^]]*\][[:space:]]\)\{0,1\}[[:space:]]*\([^[:space:]]*\).*/\2/p' |
        grep -v security | head -n 1
)
[ -n "$mirror" ] || { echo "no Debian mirror found in /etc/apt" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 1' INT TERM

echo "making $image from $mirror"
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip \
    "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; rm -f "$root.log"; exit 1; }
rm -f "$root.log"

for name in python python3; do ln -s /usr/bin/python3 "$root/usr/local/bin/$name"; done
ln -s /usr/bin/pip3 "$root/usr/local/bin/pip"
# Certificates that this machine trusts beside Debian's own.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/doc/* \
    "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/proc/* "$root"/sys/*

tar -C "$root" --numeric-owner -c . | docker import \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt LANG=C.UTF-8' \
    --change 'CMD ["python3"]' - "$image" >/dev/null
docker image inspect --format "$image: {{.Size}} bytes" "$image"
