"""``docker`` and ``gcloud`` for the steps of a Cloud Build file: does what a step relies on, and notes its arguments.

Copied to those names. ``STAND_IN`` is a directory: ``calls.jsonl`` is written, ``buckets/BUCKET`` is Cloud Storage.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(os.environ["STAND_IN"])
NAME, WORDS = Path(sys.argv[0]).name, sys.argv[1:]


def options(words: list[str]) -> dict[str, str]:
    """The values of ``--name value`` and ``--name=value``."""
    found = {}
    for number, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found[name] = value if equals else words[number + 1]
    return found


def build() -> None:
    given, context = options(WORDS[1:]), Path(WORDS[-1])
    lines = Path(given["--file"]).read_text()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", lines, re.M):
        for name in source.split():
            filled = name.replace("${ENGINE}", "litert")
            if not list(context.glob(filled)) and "*" not in filled:
                sys.exit(f"COPY failed: {context / filled} does not exist")
    images = ROOT / "images"
    images.mkdir(exist_ok=True)
    bases = re.findall(r"^FROM (lading\S+)", lines, re.M)
    if any(not (images / base.replace("/", "_")).exists() for base in bases):
        sys.exit(f"pull access denied for {bases}")
    (images / given["--tag"].replace("/", "_")).write_text(lines)


def digest(image: str) -> str:
    content = (ROOT / "images" / image.replace("/", "_")).read_bytes()
    return f"{image.rpartition(':')[0]}@sha256:{hashlib.sha256(content).hexdigest()}"


with (ROOT / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([NAME, *WORDS]) + "\n")
if (NAME, *WORDS[:1]) == ("docker", "build"):
    build()
elif (NAME, *WORDS[:1]) == ("docker", "push"):
    (ROOT / "pushed").write_text(digest(WORDS[1]))
elif (NAME, *WORDS[:1]) == ("docker", "inspect"):
    if not (ROOT / "pushed").exists():
        sys.exit("template parsing error: index out of range: 0")  # RepoDigests is empty before the push
    sys.stdout.write(digest(WORDS[-1]) + "\n")
elif WORDS[:2] == ["storage", "rsync"]:
    origin = ROOT / "buckets" / WORDS[-2].removeprefix("gs://")
    if not origin.is_dir() or not Path(WORDS[-1]).is_dir():
        sys.exit(f"ERROR: Did not find existing container at: {WORDS[-2:]}")
    shutil.copytree(origin, WORDS[-1], dirs_exist_ok=True)
elif WORDS[:2] != ["run", "deploy"]:
    sys.exit(f"{NAME} does not know {WORDS}")
