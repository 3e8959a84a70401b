"""A result as one HTML page that needs nothing else: plots inside, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from computegrid.simulate.columns import InputError
from computegrid.simulate.outcome import Outcome
from computegrid.simulate.summary import WAIT_COLUMNS, Line, lines, wait_rows

INSTALL = "pip install 'computegrid[report]'"


def check_report() -> None:
    """Refuse to draw when what it draws with is not installed.

    Raises:
        InputError: it is not; the message says how to install it.
    """
    try:
        import jinja2  # noqa: F401, PLC0415 - an optional dependency
        import matplotlib as mpl  # noqa: F401, PLC0415 - an optional dependency
    except ImportError as error:
        raise InputError(f"--html needs {error.name}, which is not installed: {INSTALL}") from None


def write_report(path: Path, outcome: Outcome, about: Sequence[Line]) -> None:
    """Write the page; `about` says what was simulated.

    Raises:
        InputError: what it draws with is not installed.
    """
    check_report()
    path.write_text(page(outcome, about), encoding="utf-8")


def page(outcome: Outcome, about: Sequence[Line]) -> str:
    """Return the page; the same result gives the same page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - an optional dependency

    from computegrid.simulate.plots import plots  # noqa: PLC0415 - an optional dependency

    environment = Environment(
        loader=PackageLoader("computegrid.simulate", "."), autoescape=True, undefined=StrictUndefined
    )
    figures = lines(outcome)
    chosen = {"utilisation", "goodput", "never started", "evictions", "fairness (Jain)", "money"}
    return environment.get_template("report.html.j2").render(
        about=about,
        main=[each for each in figures if each[0] in chosen],
        figures=figures,
        wait_columns=WAIT_COLUMNS,
        waits=wait_rows(outcome),
        plots=plots(outcome),
    )
