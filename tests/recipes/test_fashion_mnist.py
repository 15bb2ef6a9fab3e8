"""The data of Fashion-MNIST: found, read strictly, downloaded."""

import functools
import gzip
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from idx_files import NAMES, images_file, labels_file, write_fashion

from lading.errors import InvalidData
from lading.recipes import fashion_mnist
from lading.recipes.fashion_mnist import DEBIAN_DIRECTORY, TEST_FILES, TRAIN_FILES, download, find_data, read_set

IMAGES, LABELS = np.zeros((4, 28, 28), np.uint8), np.arange(4, dtype=np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_fashion(tmp_path / "data", train_rows=20, test_rows=10)


def test_pixels_are_shares_of_one(data: Path) -> None:
    images, labels = read_set(str(data), TRAIN_FILES)
    assert (images.shape, images.dtype, labels.shape) == ((20, 28, 28), np.float32, (20,))
    assert 0 <= images.min() < images.max() <= 1
    assert images.max() > 0.9
    assert labels.tolist() == list(range(10)) * 2
    assert np.array_equal(read_set(f"file://{data}", TRAIN_FILES)[0], images)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (NAMES[2], b"", "the magic number 2051 (IDX images), received an empty file"),
        (NAMES[2], b"<html>", "expected a whole gzip file, received 6 bytes"),
        (NAMES[2], images_file(IMAGES)[:-12], "corrupt or cut off"),
        (NAMES[2], images_file(IMAGES)[:-6] + b"\0" * 6, "corrupt or cut off"),
        (NAMES[2], images_file(IMAGES) + b"x", "corrupt or cut off"),
        (NAMES[2], labels_file(LABELS), "magic number 2051 (IDX images), received 2049 (labels)"),
        (NAMES[3], images_file(IMAGES), "magic number 2049 (IDX labels), received 2051 (images)"),
        (NAMES[2], gzip.compress(b"PK\3\4" * 10), "another kind of file"),
        (NAMES[2], gzip.compress(struct.pack(">2I", 0x803, 4)), "expected an IDX header of 16 bytes, received 8"),
        (NAMES[2], gzip.compress(struct.pack(">4I", 0x803, 4, 28, 28)), "expected 3136 bytes of images"),
        (NAMES[2], gzip.compress(struct.pack(">4I", 0x803, *[2**32 - 1] * 3) + b"x"), "received only 1"),
        (NAMES[3], gzip.compress(struct.pack(">2I", 0x801, 4) + bytes(5)), "expected 4 bytes of labels"),
        (NAMES[2], images_file(IMAGES[:, :, :27]), "expected images of 28×28 pixels, received 28×27"),
        (NAMES[2], images_file(IMAGES[:0]), "expected at least one row of images, received none"),
        (NAMES[3], labels_file(LABELS[:0]), "expected at least one row of labels, received none"),
        (NAMES[3], labels_file(LABELS + 7), "expected labels from 0 to 9, received 10 in row 3"),
        (NAMES[3], labels_file(LABELS[:3]), "expected 4 labels, as many as there are images"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_files_that_cannot_be_right_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / NAMES[2]).write_bytes(images_file(IMAGES))
    (tmp_path / NAMES[3]).write_bytes(labels_file(LABELS))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidData) as caught:
        read_set(str(tmp_path), TEST_FILES)
    assert name in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_is_named(data: Path) -> None:
    (data / NAMES[1]).unlink()
    with pytest.raises(InvalidData, match=NAMES[1]):
        read_set(str(data), TRAIN_FILES)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    return directory


def test_data_is_found_in_keras_place_before_debians(data: Path, home: Path, tmp_path: Path) -> None:
    assert find_data(debian=tmp_path / "nowhere") is None
    assert find_data(debian=data) == str(data)
    keras = write_fashion(home / ".keras" / "datasets" / "fashion-mnist", train_rows=10, test_rows=10)
    assert find_data(debian=data) == str(keras)
    (keras / NAMES[3]).unlink()
    assert find_data(debian=data) == str(data)


@pytest.fixture
def origin(data: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """No lines on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(data))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_brings_the_four_files(origin: str, data: Path, tmp_path: Path) -> None:
    got = Path(download(tmp_path / "got", origin=origin))
    assert {path.name: path.read_bytes() for path in got.iterdir()} == {n: (data / n).read_bytes() for n in NAMES}


def test_a_download_of_something_else_leaves_nothing(origin: str, data: Path, tmp_path: Path) -> None:
    (data / NAMES[0]).write_text("<html>log in to the network</html>")
    with pytest.raises(InvalidData, match=rf"{NAMES[0]}: expected a whole gzip file.*apt-get install dataset-fashion"):
        download(tmp_path / "got", origin=origin)
    assert not (tmp_path / "got").exists()


def test_no_internet_says_what_to_do(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        silent = f"http://127.0.0.1:{server.server_port}"  # takes connections, never answers
        with pytest.raises(InvalidData, match=r"no answer within 0.2 s.*--set data=DIR"):
            download(tmp_path / "got", origin=silent, connect_seconds=0.2)
    with pytest.raises(InvalidData, match=r"no connection.*`apt-get install dataset-fashion-mnist`"):
        download(tmp_path / "got", origin=silent)


def test_the_real_data_can_be_read() -> None:
    if not DEBIAN_DIRECTORY.is_dir():
        pytest.skip(f"no data in {DEBIAN_DIRECTORY}: apt-get install dataset-fashion-mnist")
    images, labels = read_set(str(DEBIAN_DIRECTORY), TEST_FILES)
    assert images.shape == (10000, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * len(fashion_mnist.CLASS_NAMES)


def check_data(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command behind ``make data``."""
    command = [sys.executable, "-X", "importtime", "-m", "lading.recipes.fashion_mnist", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert imports
    assert not any("tensorflow" in line or "keras" in line for line in imports)
    done.stderr = "\n".join(line for line in done.stderr.splitlines() if line not in imports)
    return done


def test_the_command_says_where_the_data_is(data: Path, home: Path) -> None:
    expected = "Fashion-MNIST is in {}: {} images to train on, {} held out\n"
    given = check_data(str(data))
    assert (given.returncode, given.stdout) == (0, expected.format(data, 20, 10))
    keras = write_fashion(home / ".keras" / "datasets" / "fashion-mnist", train_rows=30, test_rows=10)
    for arguments in ((), ("",)):  # `make data` without DATA gives none
        found = check_data(*arguments)
        assert (found.returncode, found.stdout, found.stderr) == (0, expected.format(keras, 30, 10), "")


def test_the_command_refuses_data_that_cannot_be_used(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    missing = check_data(str(tmp_path / "empty"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith(f"no file at {tmp_path / 'empty' / NAMES[0]}; on Debian or Ubuntu: `apt-get")
    assert len(missing.stderr.splitlines()) == 1
    (data / NAMES[1]).write_bytes((data / NAMES[0]).read_bytes())
    swapped = check_data(str(data))
    assert swapped.returncode == 2
    assert f"{NAMES[1]}: expected the magic number 2049 (IDX labels), received 2051 (images)" in swapped.stderr
    assert check_data(str(data), "more").returncode == 2


def test_the_command_downloads_what_is_nowhere(
    origin: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keras = home / ".keras" / "datasets" / "fashion-mnist"
    nowhere = tmp_path / "nowhere"
    assert fashion_mnist.main([], debian=nowhere, origin=f"{origin}/missing") == 2
    assert not keras.exists()
    assert "`apt-get install dataset-fashion-mnist`" in capsys.readouterr().err
    assert fashion_mnist.main([], debian=nowhere, origin=origin) == 0
    assert f"Fashion-MNIST is in {keras}: 20 images" in capsys.readouterr().out
