"""Files that HDF5 writes to through Python, so that a kill or a full disk never leaves a broken file in place."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

PAGE = 4096
"""A kill does not tear a write inside one page of memory."""


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of the block (in the main thread; elsewhere do nothing)."""
    caught: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    main = threading.current_thread() is threading.main_thread()
    held = [each for each in (signal.SIGINT, signal.SIGTERM) if main and signal.getsignal(each) is not None]
    previous = {each: signal.signal(each, hold) for each in held}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
        for number in caught:
            signal.raise_signal(number)


class _OpenFile(io.RawIOBase):
    """An open file with a position of its own; reading and writing are left to those below."""

    def __init__(self, path: Path, flags: int) -> None:
        super().__init__()
        self._file = os.open(path, flags, 0o666)
        self._position = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte, counted from the start, from here or from the end of the file."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: os.fstat(self._file).st_size}
        self._position = origin[whence] + offset
        return self._position

    def tell(self) -> int:
        """The present byte."""
        return self._position

    def close(self) -> None:
        """Close the file; what was not written to it is forgotten."""
        if not self.closed:
            os.close(self._file)
        super().close()


class HeldFile(_OpenFile):
    """The file that HDF5 writes to: keeps the writes back until `commit`, which puts the first page last.

    Rows that are not in use may be overwritten at any time; rows in use, and HDF5's own records outside the first
    page, must not change.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, os.O_RDWR)
        self._writes: list[tuple[int, bytes]] = []

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what the file would hold if all were written."""
        view = memoryview(buffer).cast("B")
        data = bytearray(os.pread(self._file, len(view), self._position))
        for offset, new in self._writes:
            begin, end = max(offset, self._position), min(offset + len(new), self._position + len(data))
            if begin < end:
                data[begin - self._position : end - self._position] = new[begin - offset : end - offset]
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        """Hold a write back."""
        self._writes.append((self._position, bytes(data)))
        return len(self._writes[-1][1])

    def truncate(self, size: int | None = None) -> int:
        """Nothing: the file keeps its size."""
        return size or 0

    def flush(self) -> None:
        """Nothing: `commit` writes."""

    def commit(self, *, shrinking: bool = False) -> None:
        """Write what was held back: first what lies behind the first page, then the first page at once.

        Args:
            shrinking: write the first page only (HDF5 wipes rows that it drops, but until then they are in use).
        """
        page = bytearray(os.pread(self._file, PAGE, 0))
        for offset, data in self._writes:
            inside = data[: max(PAGE - offset, 0)]
            page[offset : offset + len(inside)] = inside
            if not shrinking:
                self._put(data[len(inside) :], offset + len(inside))
        os.fsync(self._file)  # or a power cut could keep the first page alone
        self._put(bytes(page), 0)

    def _put(self, data: bytes, offset: int) -> None:
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written


class DraftFile(_OpenFile):
    """The file that HDF5 writes a new draft to: it never fails, because HDF5 does not survive a failure.

    Attributes:
        error: what went wrong first; then the draft is worth nothing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.error: OSError | None = None

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what was written."""
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file, len(view), self._position)
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        """Write, as long as nothing has gone wrong."""
        view, offset = memoryview(data).cast("B"), self._position
        self._position += len(view)
        size = len(view)
        try:
            while len(view) and self.error is None:
                written = os.pwrite(self._file, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file."""
        size = self._position if size is None else size
        try:
            os.ftruncate(self._file, size)
        except OSError as error:
            self.error = self.error or error
        return size
