"""Makes installed libraries fit for an image: less, and with bytecode.

    prepare.py libraries DIRECTORY          take away what no server loads, debugging symbols too, bind TensorFlow's
                                            library to itself, and compile
    prepare.py step-libraries DIRECTORY     the same, of what no pipeline step loads
    prepare.py code DIRECTORY               compile
    prepare.py standard-library ROOT OUT    compile Python's own library below ROOT, unless it comes compiled

Both the Dockerfile and the assembly without Docker run this file, with any Python of the minor version that the image
has; it needs nothing but that Python. The same files give the same results, whatever the machine.

Bytecode is worth 0.2 s of every start: in a container whose root is read-only Python compiles everything anew. It is
not checked against the sources (``unchecked-hash``, PEP 552), so that times in the image do not matter.
"""

import compileall
import mmap
import os
import py_compile
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = "opt/lading/lib"
"""Where libraries lie in an image, relative to its root: on ``PYTHONPATH``."""

UNUSED = (
    "bin",  # command-line tools of numpy
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",  # 19 MB for graphics processors
    "ai_edge_litert/vendors",  # for neural processors of phones
    "ai_edge_litert/aot",
    "ai_edge_litert/tools",
    "numpy/f2py",
    "numpy/_pyinstaller",
    "numpy/testing",  # asks for numpy's tests
    "pyarrow/*_flight*",  # 33 MB for a protocol of its own
    "pyarrow/*_s3*",  # 17 MB; lading reads buckets itself
    "pyarrow/libarrow_python*.so",  # what is loaded has the name with .so.N, and is there thrice
    "pyarrow/libarrow_python*.so.*.*.*",
    "pyarrow/src",
    "**/*.pxi",
    "**/tests",
    "**/include",
    "**/*.a",
    "**/*.pyi",
    "**/*.pxd",
    "**/*.pyx",
)
UNUSED_BY_STEPS = (
    "bin",
    "tensorflow/include",  # with clang 350 MB, for who compiles operations
    "clang",
    "google/cloud/aiplatform",  # the library for notebooks; lading speaks to the clients of aiplatform_v1
    "google/cloud/aiplatform_v1beta1",
    "agentplatform",
    "vertexai",
    "vertex_ray",
    "**/*.a",
    "**/*.pyi",
)
ONLY = {
    "tensorflow": ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2", "THIRD_PARTY_NOTICES.txt"),
}
"""Of these packages a server needs nothing else: it loads TensorFlow's C library, and never imports its Python."""
BOUND = "tensorflow/*.so.2"
"""What is bound to itself; a server loads it with RTLD_LOCAL, so that no other library could take a name from it."""
NOT_SERVED = (
    "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "dist-packages", "test", "tests", "tkinter",
    "turtledemo",
)  # fmt: skip
"""Folders of Python's own library that are not compiled."""

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_SHF_ALLOC, _SHT_NULL, _SHT_NOBITS = 2, 0, 8
# Of bind, all from the ABI's elf.h:
_EM_X86_64, _PT_LOAD, _PT_DYNAMIC = 62, 1, 2
_PLTRELSZ, _STRTAB, _SYMTAB, _RELA, _RELASZ, _JMPREL, _RELACOUNT = 2, 5, 6, 7, 8, 23, 0x6FFFFFF9
_R_64, _R_GLOB_DAT, _R_JUMP_SLOT, _R_RELATIVE = 1, 6, 7, 8
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
_OBJECTS_AND_FUNCTIONS, _GLOBAL_AND_WEAK = (1, 2), (1, 2)


def prepare_libraries(directory: Path) -> None:
    """Take away what no server loads, and compile the rest."""
    trim(directory)
    for path in sorted(directory.glob(BOUND)):
        bind(path)
    _strip_and_compile(directory)


def prepare_step_libraries(directory: Path) -> None:
    """Take away what no pipeline step loads, and compile the rest."""
    _remove_all(directory, UNUSED_BY_STEPS)
    _strip_and_compile(directory)


def _strip_and_compile(directory: Path) -> None:
    for path in sorted(directory.rglob("*.so*")):
        if path.is_file() and not path.is_symlink():
            strip(path)
    compile_code(directory, f"/{LIBRARIES}")


def trim(directory: Path) -> None:
    """Take away what no server loads."""
    _remove_all(directory, UNUSED)
    for package, kept in ONLY.items():
        if (directory / package).is_dir():
            for path in sorted((directory / package).iterdir()):
                if path.name not in kept:
                    _remove(path)


def _remove_all(directory: Path, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for path in sorted(directory.glob(pattern)):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def strip(path: Path) -> None:
    """Take symbols and debugging information out of a shared library; what is loaded stays as it is, byte by byte.

    What no segment loads is cut off, or zeroed where it lies between segments, and the list of sections goes: the
    dynamic loader reads segments only. Unlike binutils this needs no tool for the architecture, and its result does
    not depend on a version. Source: System V ABI, chapter 4, "Object Files" (ELF-64).
    """
    with path.open("r+b") as file:
        head = file.read(64)
        if head[:6] != _ELF64_LITTLE_ENDIAN:
            return
        segments_at, sections_at = struct.unpack_from("<QQ", head, 32)
        segment_bytes, segments, section_bytes, sections = struct.unpack_from("<4H", head, 54)
        end = 64
        for entry in _table(file, segments_at, segment_bytes, segments):
            offset, _, _, size = struct.unpack_from("<4Q", entry, 8)
            end = max(end, offset + size)
        unloaded = [(sections_at, section_bytes * sections)]
        for entry in _table(file, sections_at, section_bytes, sections):
            kind, flags, _, offset, size = struct.unpack_from("<IQQQQ", entry, 4)
            if kind not in (_SHT_NULL, _SHT_NOBITS) and not flags & _SHF_ALLOC:
                unloaded.append((offset, size))
        for offset, size in unloaded:
            if offset < end:
                file.seek(offset)
                file.write(bytes(min(size, end - offset)))
        file.seek(40)
        file.write(bytes(8))  # e_shoff
        file.seek(60)
        file.write(bytes(4))  # e_shnum, e_shstrndx
        file.truncate(end)


def _table(file, offset: int, entry_bytes: int, count: int) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
    file.seek(offset)
    content = file.read(entry_bytes * count)
    return (content[start : start + entry_bytes] for start in range(0, len(content), entry_bytes))


def bind(path: Path) -> None:
    """Have a shared library find its own C++ names without a search, as if linked by ``ld -Bsymbolic``.

    The dynamic loader searches for each of a library's relocations by name, and again when a function is first called:
    for TensorFlow that is two thirds of the time that loading takes. Where the library itself defines a name the search
    ends there, since the library comes first in its own scope; so the address, which is known, is written instead. The
    names stay, for others. Names of C are left to the search: the program or its C library may have them too. So is
    what must be one in a process (``STB_GNU_UNIQUE``, thread-local variables).

    Sources: System V ABI, AMD64 supplement, "Relocation"; glibc's ``elf_machine_lazy_rel``, for the slots of functions.
    Other machines' libraries are left as they are.
    """
    with path.open("r+b") as file:
        head = file.read(64)
        if head[:6] != _ELF64_LITTLE_ENDIAN or struct.unpack_from("<H", head, 18) != (_EM_X86_64,):
            return
        with mmap.mmap(file.fileno(), 0) as image:
            _bind(image)


def _bind(image: mmap.mmap) -> None:
    at, size, count = *struct.unpack_from("<Q", image, 32), *struct.unpack_from("<2H", image, 54)
    segments = [struct.unpack_from("<IIQQQQ", image, at + size * index) for index in range(count)]

    def offset(address: int) -> int:
        return next(s[2] + address - s[3] for s in segments if s[0] == _PT_LOAD and s[3] <= address < s[3] + s[5])

    start, length = next((s[2], s[5]) for s in segments if s[0] == _PT_DYNAMIC)
    tags = {tag: (value, start + 16 * i) for i, (tag, value) in enumerate(_rows("<qQ", image, start, length))}
    if not {_STRTAB, _SYMTAB, _RELA, _RELASZ, _RELACOUNT} <= tags.keys():
        return
    table = offset(tags[_RELA][0])
    relocations = _rows("<QQq", image, table, tags[_RELASZ][0])
    slots = _rows("<QQq", image, offset(tags[_JMPREL][0]), tags[_PLTRELSZ][0]) if _JMPREL in tags else []
    symbols = 1 + max((info >> 32 for _, info, _ in (*relocations, *slots)), default=0)
    own = _own_addresses(image, offset(tags[_SYMTAB][0]), symbols, offset(tags[_STRTAB][0]))
    relative, searched = [], []
    for place, info, addend in relocations:
        kind, address = info & 0xFFFFFFFF, own.get(info >> 32)
        if address is not None and kind in (_R_64, _R_GLOB_DAT):
            relative.append((place, _R_RELATIVE, address + (addend if kind == _R_64 else 0)))
        else:
            (relative if kind == _R_RELATIVE else searched).append((place, info, addend))
    # The loader expects those without a name first, and is quicker in the order of memory.
    bound = (struct.pack("<QQq", *row) for row in (*sorted(relative), *searched))
    image[table : table + tags[_RELASZ][0]] = b"".join(bound)
    struct.pack_into("<Q", image, tags[_RELACOUNT][1] + 8, len(relative))
    for place, info, _ in slots:
        if info & 0xFFFFFFFF == _R_JUMP_SLOT and info >> 32 in own:
            struct.pack_into("<Q", image, offset(place), own[info >> 32])


def _rows(form: str, image: mmap.mmap, start: int, length: int) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack(form, image[start : start + length]))


def _own_addresses(image: mmap.mmap, start: int, count: int, names: int) -> dict[int, int]:
    """The addresses of the C++ functions and objects that a library defines, by the number of their symbol."""
    found = {}
    for number, (name, info, _, section, value, _) in enumerate(_rows("<IBBHQQ", image, start, 24 * count)):
        defined = section not in (_SHN_UNDEF, _SHN_ABS) and info & 15 in _OBJECTS_AND_FUNCTIONS
        if defined and info >> 4 in _GLOBAL_AND_WEAK and image[names + name : names + name + 2] == b"_Z":
            found[number] = value
    return found


def compile_code(directory: Path, shown_as: str) -> None:
    """Compile all modules below a directory, which tracebacks show as another."""
    _compile(directory, directory, shown_as)


def prepare_standard_library(root: Path, out: Path) -> None:
    """Compile Python's own library of an image, unless it comes with bytecode.

    Args:
        root: The image's files, of which only those of Python's library need to be there.
        out: Where the bytecode goes, as it lies in the image; an empty directory when there is nothing to do.
    """
    out.mkdir(parents=True, exist_ok=True)
    for library in standard_libraries(root):
        here = f"python{sys.version_info.major}.{sys.version_info.minor}"
        if library.name != here:
            sys.exit(f"expected a base with {here}, which compiles for it; found {library.name} in it")
        if not any((library / "__pycache__").glob("os.*.pyc")):
            _compile(library, root, "/")
            for folder in sorted(library.rglob("__pycache__")):
                shutil.move(folder, out / folder.relative_to(root))


def standard_libraries(root: Path) -> list[Path]:
    """Python's own library in the files of an image, as Debian or as Docker's official image has it."""
    found = [path.parent for prefix in ("usr", "usr/local") for path in root.glob(f"{prefix}/lib/python3.*/os.py")]
    if not found:
        sys.exit(f"expected Python in the base, below /usr or /usr/local; found none in {root}")
    return sorted(found)


def _compile(directory: Path, strip_prefix: Path, shown_as: str) -> None:
    # In this very process, one by one and in order: bytecode differs where constants happen to be shared.
    for path in sorted(directory.rglob("*.py"), key=os.fsencode):
        inside = path.relative_to(directory).parts
        if path.is_symlink() or (shown_as == "/" and any(part in NOT_SERVED for part in inside[:-1])):
            continue
        compileall.compile_file(
            path,
            stripdir=os.fspath(strip_prefix),
            prependdir=shown_as,
            quiet=2,  # a template or a file for another Python is none of ours
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def main() -> None:
    """The command line."""
    match sys.argv[1:]:
        case ["libraries", directory]:
            prepare_libraries(Path(directory))
        case ["step-libraries", directory]:
            prepare_step_libraries(Path(directory))
        case ["code", directory]:
            compile_code(Path(directory), f"/{LIBRARIES}")
        case ["standard-library", root, out]:
            prepare_standard_library(Path(root), Path(out))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
