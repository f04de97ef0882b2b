"""Write the extracts and the truth chunk by chunk, each file whole or not at all."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import polars as pl

from linkage.errors import ContractError, LinkageError
from linkage.exchange.files import atomic_write

__all__ = ["CsvFile", "ExcelFile", "ParquetFile", "Sink"]

EXCEL_ROWS = 1_048_576
"""Rows that a worksheet can hold, its header included."""


class Sink(Protocol):
    """A file that takes frames one after the other."""

    path: Path
    rows: int

    def add(self, frame: pl.DataFrame) -> None:
        """Append a frame."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _File:
    """Base of the sinks: a temporary file that takes its name when all went well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(atomic_write(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException as failure:
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def _finish(self) -> None:
        """Complete the temporary file."""


class CsvFile(_File):
    """A CSV file in some encoding with some separator."""

    def __init__(self, path: Path, *, encoding: str = "utf-8", separator: str = ",") -> None:
        super().__init__(path)
        self._encoding, self._separator = encoding, separator

    def add(self, frame: pl.DataFrame) -> None:
        """Append a frame; the header comes with the first."""
        text = frame.write_csv(separator=self._separator, include_header=self.rows == 0)
        with self._temporary.open("ab") as file:
            file.write(text.encode(self._encoding))
        self.rows += len(frame)


class ParquetFile(_File):
    """A Parquet file, gathered from parts so that memory holds one part at a time."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._parts: list[Path] = []
        return self

    def add(self, frame: pl.DataFrame) -> None:
        """Append a frame."""
        part = self._stack.enter_context(_Part(self.path, len(self._parts))).path
        frame.write_parquet(part)
        self._parts.append(part)
        self.rows += len(frame)

    def _finish(self) -> None:
        pl.scan_parquet(self._parts).sink_parquet(self._temporary)


class _Part:
    """A part file beside the final one that is gone at the end, whatever happens."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path.with_name(f".{path.name}.{number:05d}.part")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)


class ExcelFile(_File):
    """A workbook with one sheet of data and a cover sheet, written row by row."""

    def __init__(self, path: Path, *, sheet: str, cover: str) -> None:
        super().__init__(path)
        self._sheet, self._cover = sheet, cover

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            import xlsxwriter
        except ModuleNotFoundError:
            raise LinkageError(
                "the package xlsxwriter is missing", reason="missing-package", hint="install linkage[test]"
            ) from None
        options: dict[str, Any] = {
            "constant_memory": True,
            "tmpdir": str(self.path.parent),
            "strings_to_formulas": False,
        }
        self._book = xlsxwriter.Workbook(str(self._temporary), options)
        self._book.set_properties({"created": dt.datetime(2017, 1, 31, tzinfo=dt.UTC)})
        self._book.add_worksheet("Read me").write_string(0, 0, self._cover)
        self._data = self._book.add_worksheet(self._sheet)
        return self

    def add(self, frame: pl.DataFrame) -> None:
        """Append a frame; empty text and null become empty cells."""
        if self.rows == 0:
            self._data.write_row(0, 0, frame.columns)
        if self.rows + len(frame) >= EXCEL_ROWS:
            raise ContractError(
                "the population is too large for a workbook", reason="too-large", hint="draw fewer people"
            )
        for number, row in enumerate(frame.iter_rows(), start=self.rows + 1):
            for column, value in enumerate(row):
                if isinstance(value, int):
                    self._data.write_number(number, column, value)
                elif value:
                    self._data.write_string(number, column, value)
        self.rows += len(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and hasattr(self, "_book"):
            self._book.close()  # its own temporary files go with it
        super().__exit__(kind, error, trace)

    def _finish(self) -> None:
        self._book.close()
