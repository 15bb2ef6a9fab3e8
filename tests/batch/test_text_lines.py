import tracemalloc
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from lading.batch.formats.base import MOST_BLOCK_BYTES, MOST_SHOWN, BadRow
from lading.batch.formats.lines import Overlong, cut_blocks, cut_lines


def pieces(content: bytes, length: int) -> Iterator[bytes]:
    return (content[at : at + length] for at in range(0, len(content), length))


@given(st.text("ab\n\r", max_size=60).map(str.encode), st.integers(1, 9))
def test_lines_do_not_depend_on_the_pieces_of_the_stream(content: bytes, length: int) -> None:
    lines = list(cut_lines(pieces(content, length), 1000))
    expected = content.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line for line, _ in lines] == expected
    assert sum(taken for _, taken in lines) == len(content)


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 9), st.booleans())
def test_a_long_line_is_one_bad_row_and_the_others_stay(sizes: list[int], length: int, ends: bool) -> None:
    content = b"\n".join(b"x" * size for size in sizes) + b"\n" * ends
    lines = list(cut_lines(pieces(content, length), 5))
    expected = content.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [isinstance(line, Overlong) for line, _ in lines] == [len(line) > 5 for line in expected]
    assert sum(taken for _, taken in lines) == len(content)
    assert [line for line, _ in lines if isinstance(line, bytes)] == [line for line in expected if len(line) <= 5]


def test_a_long_line_takes_no_memory() -> None:
    def stream() -> Iterator[bytes]:
        yield b"first\n"
        for _ in range(200):
            yield b"x" * 500_000
        yield b"\nlast"

    tracemalloc.start()
    lines = list(cut_lines(stream(), 1_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6_000_000
    (first, _), (long, taken), (last, _) = lines
    assert (first, taken, last) == (b"first", 100_000_001, b"last")
    assert isinstance(long, Overlong)
    assert long.reason == "expected a line of at most 1000000 bytes, received 100000000"


def test_blocks_end_by_rows_and_by_bytes() -> None:
    lines: list[tuple[bytes, int]] = [(b"x", 2)] * 5 + [(b"y", MOST_BLOCK_BYTES), (b"z", 2), (b"z", 1)]
    blocks = list(cut_blocks(iter(lines), start=100, row=7, most_rows=3))
    assert [len(block.rows) for block in blocks] == [3, 2, 1, 2]
    assert [(block.start, block.first_row, block.next_row) for block in blocks] == [
        (100, 7, 10),
        (106, 10, 12),
        (110, 12, 13),
        (110 + MOST_BLOCK_BYTES, 13, 15),
    ]
    assert [block.end for block in blocks][:-1] == [block.start for block in blocks][1:]
    assert all(block.size == block.end - block.start for block in blocks)


def test_a_long_line_is_shown_by_its_beginning() -> None:
    (block,) = cut_blocks(cut_lines([b"ab\n", b"\xff" + b"y" * 10_000], 5000), start=0, row=1, most_rows=10)
    bad = block.rows[1]
    assert isinstance(bad, BadRow)
    assert bad.row == 2
    assert bad.text.startswith("\\xffyyy")
    assert len(bad.text) == MOST_SHOWN
