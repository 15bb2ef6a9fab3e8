#!/usr/bin/env bash
# Bases for machines that can pull no image, from Debian's packages, by mmdebstrap, loaded into Docker:
#   lading-base    Python with pip and a shell, on which images are built
#   lading-python  Python and nothing else, which images for serving run on
set -euo pipefail
suite=${SUITE:-bookworm}
command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 2; }
docker info >/dev/null 2>&1 || { echo "no Docker daemon answers: start it, or set DOCKER_HOST" >&2; exit 2; }
SOURCE_DATE_EPOCH=$(date +%s -d "$(date +%Y-%m-01)") mmdebstrap --quiet --variant=minbase \
    --include=python3,python3-pip,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*' \
    "$suite" - | docker import --change 'CMD ["python3"]' --message "Debian $suite, Python" - lading-base
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Docker names what it loads after the file.
"${PYTHON:-python3}" -m containers.assembly base --suite "$suite" --to "archive:$scratch/lading-python.tar"
docker load --quiet --input "$scratch/lading-python.tar"
