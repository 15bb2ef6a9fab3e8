"""What `lading serve --verify-models` costs: the check of a model's files against the image's digests.

.venv/bin/python benchmarks/verify_models.py [--megabytes 100] [--files 2] [--runs 5]
"""

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from lading.files import digest_file
from lading.serving.integrity import check_model
from lading.values import ModelDigests, to_json


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, help="of the whole model")
    parser.add_argument("--files", type=int, default=2, help="of equal size")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model, digests = Path(scratch) / "model", Path(scratch) / "digests.json"
        model.mkdir()
        for number in range(args.files):
            (model / str(number)).write_bytes(os.urandom(args.megabytes * 1_000_000 // args.files))
        digests.write_text(to_json(ModelDigests(str(model), {p.name: digest_file(p) for p in model.iterdir()})))
        checked, hashed = [], []
        for _ in range(args.runs):
            start = time.perf_counter()
            check_model(model, digests)
            checked.append(time.perf_counter() - start)
            content = (model / "0").read_bytes()
            start = time.perf_counter()
            hashlib.sha256(content).digest()
            hashed.append((time.perf_counter() - start) * args.files)
    per_100 = 1e5 / args.megabytes  # milliseconds for 100 MB
    print(f"check of {args.megabytes} MB in {args.files} files, files in the page cache, {args.runs} runs")
    print(f"  check_model           {statistics.median(checked) * per_100:6.0f} ms for 100 MB")
    print(f"  SHA-256 alone, 1 core {statistics.median(hashed) * per_100:6.0f} ms for 100 MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
