import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lading.errors import StorageError
from lading.files import state_dir, whole_directory, write_atomic


def test_state_lives_where_xdg_says() -> None:
    assert state_dir({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/lading")
    assert state_dir({"HOME": "/h"}) == Path("/h/.local/state/lading")
    assert state_dir({"XDG_STATE_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/state/lading")


def test_a_file_is_replaced_whole_and_gets_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomic(path, "one")
    write_atomic(path, b"two", mode=0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o600)
    assert os.listdir(path.parent) == ["file"]


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with whole_directory(path) as scratch:
        (scratch / "a").write_text("1")
        assert not path.exists()
    with pytest.raises(RuntimeError), whole_directory(path) as scratch:
        (scratch / "a").write_text("2")
        raise RuntimeError
    assert (path / "a").read_text() == "1"
    with whole_directory(path) as scratch:
        (scratch / "b").write_text("3")
    assert os.listdir(path) == ["b"]
    assert os.listdir(tmp_path) == ["model"]


FILL = """
import resource, signal, sys
from pathlib import Path
from lading.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_atomic(Path(sys.argv[1]), b"x" * 5000)
"""


def test_a_full_disk_is_said_in_words_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=False)
    assert f"StorageError: no space left while writing {path}: free some space there" in done.stderr
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="choose a place that this user can write"):
        write_atomic(tmp_path / "file", "x")


def test_a_directory_that_cannot_be_renamed_is_copied(tmp_path: Path) -> None:
    """As on a mounted bucket. Here the scratch directory is a mount point, which the kernel refuses to rename."""
    with contextlib.ExitStack() as unmount:
        with whole_directory(tmp_path / "model") as scratch:
            mounted = subprocess.run(["mount", "-t", "tmpfs", "none", scratch], capture_output=True, check=False)
            if mounted.returncode:
                pytest.skip("needs the right to mount")
            unmount.callback(subprocess.run, ["umount", scratch], check=True)
            (scratch / "variables").mkdir()
            (scratch / "variables" / "data").write_bytes(b"weights")
            (scratch / "saved_model.pb").write_bytes(b"graph")
        assert (tmp_path / "model" / "variables" / "data").read_bytes() == b"weights"
        newest = max((p for p in (tmp_path / "model").rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
        assert newest.name == "saved_model.pb"
