"""Tables of what users wrote, as CSV: typed cells, and errors that name the cell and what may be in it."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from computegrid.api.quantity import QuantityError, Rounding, count, cpu_millis

_SHOWN = 20
"""Problems that are told at once; a file with more of them has one cause."""
_LONGEST = 60


class InputError(ValueError):
    """What a user gave cannot be simulated; the message has one line for each problem."""


@dataclass(slots=True)
class Problems:
    """What is wrong with one file, so far."""

    file: str
    lines: list[str] = field(default_factory=list)

    def add(self, line: int, column: str, message: str) -> None:
        """Note a problem of one cell."""
        self.lines.append(f"{self.file}:{line}: column {column}: {message}")

    def refuse(self) -> None:
        """Raise what was noted, if anything was.

        Raises:
            InputError: something was.
        """
        if not self.lines:
            return
        more = len(self.lines) - _SHOWN
        rest = [f"{self.file}: {more} more of the kind"] if more > 0 else []
        raise InputError("\n".join(self.lines[:_SHOWN] + rest))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. A cell that is not as it must be is noted, and counts as the least that may be."""

    line: int
    cells: dict[str, str]
    problems: Problems

    def text(self, column: str, default: str | None = None) -> str:
        """Return what is written; without a default, something must be."""
        value = self.cells.get(column, "").strip()
        if value:
            return value
        if default is None:
            self.problems.add(self.line, column, "must not be empty")
        return default or ""

    def number(
        self, column: str, *, least: float, most: float = math.inf, default: float | None = None
    ) -> float:
        """Return a finite number between two bounds, both included."""
        written = self.text(column, None if default is None else str(default))
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most):
            self._refuse(column, written, f"a number {_between(least, most)}")
            return least
        return value

    def whole(self, column: str, *, least: int, most: int, default: int | None = None) -> int:
        """Return a whole number between two bounds, both included."""
        written = self.text(column, None if default is None else str(default))
        value = int(written) if written.removeprefix("-").isdecimal() and len(written) < 20 else least - 1
        if not least <= value <= most:
            self._refuse(column, written, f"a whole number {_between(least, most)}")
            return least
        return value

    def cores(self, column: str, rounding: Rounding) -> int:
        """Return a quantity of CPUs as thousandths; an empty cell is none."""
        written = self.text(column, "0")
        try:
            value = cpu_millis(written, rounding)
        except QuantityError:
            value = -1
        return self._at_least_nothing(column, written, value, "CPUs such as 4 or 500m")

    def amount(self, column: str, rounding: Rounding) -> int:
        """Return a quantity of bytes; an empty cell is none."""
        written = self.text(column, "0")
        try:
            value = count(written, rounding)
        except QuantityError:
            value = -1
        return self._at_least_nothing(column, written, value, "a quantity such as 16Gi")

    def names(self, column: str, separator: str = "|") -> tuple[str, ...]:
        """Return names in the order in which they are written, each once."""
        parts = (part.strip() for part in self.text(column, "").split(separator))
        return tuple(dict.fromkeys(part for part in parts if part))

    def _at_least_nothing(self, column: str, written: str, value: int, what: str) -> int:
        if value < 0:
            self._refuse(column, written, f"{what}, not negative")
            return 0
        return value

    def _refuse(self, column: str, written: str, what: str) -> None:
        if written:  # that nothing is written has been said already
            self.problems.add(self.line, column, f"{written[:_LONGEST]!r} must be {what}")


def read_table(path: Path, *, needed: Collection[str], known: Collection[str]) -> tuple[list[Row], Problems]:
    """Return the rows of a CSV file with a header, and where to note what is wrong with them.

    Raises:
        InputError: the file cannot be read, or its header has not the columns that it must have.
    """
    problems = Problems(str(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = [line for line in _numbered(csv.reader(handle, strict=True)) if line[1]]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is not a CSV file in UTF-8: {error}") from None
    if not lines:
        raise InputError(f"{path}:1: is empty; the first line must be a header with {', '.join(needed)}")
    first, header = lines[0][0], [name.strip() for name in lines[0][1]]
    _check_header(header, first, needed, known, problems)
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            column = header[min(len(cells), len(header) - 1)]
            problems.add(number, column, f"{len(cells)} cells; the header has {len(header)}")
            continue
        rows.append(Row(number, dict(zip(header, cells, strict=True)), problems))
    if not rows and not problems.lines:
        raise InputError(f"{path}:{first}: has a header and no rows")
    return rows, problems


def _numbered(reader: object) -> Iterator[tuple[int, list[str]]]:
    assert hasattr(reader, "line_num")
    for cells in reader:  # type: ignore[attr-defined]  # the type of a csv reader has no public name
        yield reader.line_num, cells


def _check_header(
    header: list[str], line: int, needed: Collection[str], known: Collection[str], problems: Problems
) -> None:
    for name in needed:
        if name not in header:
            problems.add(line, name, f"is missing; needed are {', '.join(needed)}")
    for name in dict.fromkeys(header):
        if name not in known:
            problems.add(line, name or "(empty)", f"is not known; known are {', '.join(known)}")
        elif header.count(name) > 1:
            problems.add(line, name, "is there more than once")
    problems.refuse()


def _between(least: float, most: float) -> str:
    low = f"of at least {least:g}" if most == math.inf else f"from {least:g}"
    return low if most == math.inf else f"{low} to {most:g}"
