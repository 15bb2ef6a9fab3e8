#!/usr/bin/env bash
# A base for machines that can pull no image: Debian's own Python, made by mmdebstrap, loaded into Docker as lading-base.
set -euo pipefail
name=${1:-lading-base}
suite=${SUITE:-bookworm}
command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 2; }
docker info >/dev/null 2>&1 || { echo "no Docker daemon answers: start it, or set DOCKER_HOST" >&2; exit 2; }
SOURCE_DATE_EPOCH=$(date +%s -d "$(date +%Y-%m-01)") mmdebstrap --quiet --variant=minbase \
    --include=python3,python3-pip,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*' \
    "$suite" - | docker import --change 'CMD ["python3"]' --message "Debian $suite, Python" - "$name"
