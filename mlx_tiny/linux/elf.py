"""The import slots of an ELF library in this process: the addresses of the functions that it calls in other libraries.

For Linux on 64-bit machines. Only memory inside the segments of the library is read.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import Any

# From the System V ABI and its processor supplements (elf.h).
_DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_STRSZ, _DT_PLTREL = 5, 6, 7, 8, 10, 20
_DT_PLTRELSZ, _DT_JMPREL = 2, 23
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_RELRO = 1, 2, 0x6474E552
_PF_X = 1
_PROT_READ, _PROT_WRITE = 1, 2
SLOT_TYPES = {"x86_64": {6, 7}, "aarch64": {1025, 1026}}  # GLOB_DAT and JUMP_SLOT
_SYMBOL_TYPES = {0, 2}  # STT_NOTYPE, STT_FUNC


class Unexpected(Exception):
    """The library or the system is not as this module expects it to be."""


class _ProgramHeader(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
        ("vaddr", ctypes.c_uint64),
        ("paddr", ctypes.c_uint64),
        ("filesz", ctypes.c_uint64),
        ("memsz", ctypes.c_uint64),
        ("align", ctypes.c_uint64),
    )


class _LoadedObject(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.POINTER(_ProgramHeader)),
        ("count", ctypes.c_uint16),
    )


class _SymbolInfo(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def file_of(address: int) -> str:
    """Path of the library that contains the code at `address`."""
    info = _SymbolInfo()
    function = ctypes.CDLL(None).dladdr
    function.argtypes = [ctypes.c_void_p, ctypes.POINTER(_SymbolInfo)]
    if not function(address, ctypes.byref(info)) or not info.file:
        raise Unexpected("a slot of libmlx.so points nowhere")
    return os.fsdecode(info.file)


@dataclass(frozen=True)
class Slot:
    """The pointer through which a library calls one imported function."""

    address: int
    read_only: bool

    def value(self) -> int:
        return int(ctypes.c_uint64.from_address(self.address).value)

    def write(self, target: int) -> None:
        self._protect(_PROT_READ | _PROT_WRITE)
        ctypes.c_uint64.from_address(self.address).value = target
        if self.read_only:
            self._protect(_PROT_READ)

    def _protect(self, protection: int) -> None:
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        if mprotect(self.address // page_bytes * page_bytes, page_bytes, protection) != 0:
            raise Unexpected(f"the system keeps libmlx.so read-only: {os.strerror(ctypes.get_errno())}")


@dataclass(frozen=True)
class Image:
    """A loaded ELF library in memory."""

    base: int
    headers: tuple[tuple[int, int, int, int], ...]
    """Type, flags, address and size in bytes of each segment."""

    @staticmethod
    def of_library(name: str) -> Image:
        """The loaded library whose file is called `name`; there must be exactly one."""
        found: list[Image] = []

        def visit(loaded: Any, _size: int, _data: Any) -> int:
            item = loaded.contents
            if os.path.basename(item.name or b"") == name.encode():
                headers = (item.headers[i] for i in range(item.count))
                described = tuple((h.type, h.flags, item.base + h.vaddr, h.memsz) for h in headers)
                found.append(Image(item.base, described))
            return 0

        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_LoadedObject), ctypes.c_size_t, ctypes.c_void_p)
        # PyDLL keeps the interpreter's lock; without it, this and another thread's dlopen could deadlock.
        ctypes.PyDLL(None).dl_iterate_phdr(kind(visit), None)
        if len(found) != 1:
            raise Unexpected(f"{len(found)} libraries called {name} are loaded")
        return found[0]

    def read(self, address: int, size: int) -> bytes:
        if not any(t == _PT_LOAD and a <= address and address + size <= a + n for t, _, a, n in self.headers):
            raise Unexpected("libmlx.so is not laid out as expected")
        return ctypes.string_at(address, size)

    def import_slots(self, prefix: str, types: set[int]) -> dict[str, Slot]:
        """Slots of imported functions whose name begins with `prefix`, by name."""
        dynamic = self._dynamic()
        if dynamic.get(_DT_PLTREL, _DT_RELA) != _DT_RELA:
            raise Unexpected("libmlx.so has relocations without addends")
        names = self.read(self._absolute(dynamic[_DT_STRTAB]), dynamic[_DT_STRSZ])
        slots = {}
        for table, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
            if table not in dynamic:
                continue
            block = self.read(self._absolute(dynamic[table]), dynamic[size])
            for offset, info, _ in struct.iter_unpack("<QQq", block):
                if info & 0xFFFFFFFF in types:
                    name = self._undefined_function(dynamic, names, info >> 32)
                    if name.startswith(prefix):
                        slots[name] = self._slot(self.base + offset)
        return slots

    def _dynamic(self) -> dict[int, int]:
        (address, size), *_ = [(a, n) for t, _, a, n in self.headers if t == _PT_DYNAMIC]
        entries: dict[int, int] = {}
        for tag, value in struct.iter_unpack("<qQ", self.read(address, size // 16 * 16)):
            entries.setdefault(tag, value)
        return entries

    def _absolute(self, pointer: int) -> int:
        """The absolute address of a pointer in the dynamic section; glibc relocates these pointers, others do not."""
        loaded = [(a, a + n) for t, _, a, n in self.headers if t == _PT_LOAD]
        return pointer if any(start <= pointer < end for start, end in loaded) else self.base + pointer

    def _undefined_function(self, dynamic: dict[int, int], names: bytes, index: int) -> str:
        """Name of the imported function at `index`, or "" if the symbol is defined here or is not a function."""
        entry = self.read(self._absolute(dynamic[_DT_SYMTAB]) + 24 * index, 24)
        name, info, _, section = struct.unpack_from("<IBBH", entry)
        if section != 0 or info & 0xF not in _SYMBOL_TYPES:
            return ""
        return names[name : names.index(b"\0", name)].decode()

    def _slot(self, address: int) -> Slot:
        self.read(address, 8)
        loaded = [(f, a, a + n) for t, f, a, n in self.headers if t == _PT_LOAD]
        if address % 8 or any(flags & _PF_X and start <= address < end for flags, start, end in loaded):
            raise Unexpected("a slot of libmlx.so lies where none is expected")
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        closed = [(a // page_bytes, (a + n) // page_bytes) for t, _, a, n in self.headers if t == _PT_GNU_RELRO]
        return Slot(address, any(first <= address // page_bytes < end for first, end in closed))
