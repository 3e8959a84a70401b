"""Plots of a result as SVG that goes into a page: colours are the page's, texts are texts."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from computegrid.simulate.outcome import Outcome, percentile

_INK, _GRID = "#010203", "#040506"
_COLOURS = ("#0a0101", "#0a0202", "#0a0303", "#0a0404", "#0a0505", "#0a0606")
"""Colours that stand for those of the page, which are put in their place when the SVG is written."""
_BINS = 60
_UNITS = ((2 * 86_400.0, "days"), (2 * 3600.0, "hours"), (120.0, "minutes"), (0.0, "seconds"))
_SECONDS = {"days": 86_400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot with what it shows."""

    title: str
    about: str
    svg: str


@dataclass(frozen=True, slots=True)
class _Line:
    label: str
    times: Sequence[float]
    values: Sequence[float]


def plots(outcome: Outcome) -> list[Plot]:
    """Return the plots of a result."""
    samples = outcome.samples
    times = [each.time for each in samples]

    def one(label: str, values: Sequence[float]) -> list[_Line]:
        return [_Line(label, times, values)]

    part = (0.0, 1.0)
    return [
        _plot(
            "Utilisation",
            "Part of the devices in service that jobs hold.",
            one("held", [each.utilisation for each in samples]),
            percent=True,
            bounds=part,
        ),
        _plot(
            "Waits by queue",
            "90th percentile of the time from submission to the first place, by when a job was submitted.",
            _waits(outcome),
            unit="seconds",
        ),
        _plot(
            "Jobs",
            "Jobs that wait and jobs that have a place.",
            [
                _Line("waiting", times, [each.waiting for each in samples]),
                _Line("running", times, [each.running for each in samples]),
            ],
            unit="jobs",
        ),
        _plot(
            "Fragmentation",
            "Part of the free devices that lies on nodes of which something is held.",
            one("fragmentation", [each.fragmentation for each in samples]),
            percent=True,
            bounds=part,
        ),
        _plot(
            "Fairness",
            "Jain's index of what queues hold, relative to their weighted max-min shares; 1 is fair.",
            one("index", [each.fairness for each in samples]),
            bounds=part,
        ),
        _plot(
            "Cost",
            "Money by the prices of the pools, from the beginning.",
            one("money", [each.money for each in samples]),
            unit="money",
        ),
        _plot(
            "Carbon",
            "CO2 equivalent by the power of the devices and the carbon intensity of the clusters.",
            one("carbon", [each.kg_co2e for each in samples]),
            unit="kg CO2e",
        ),
    ]


def _waits(outcome: Outcome) -> list[_Line]:
    """Return the 90th percentile of waits by queue and by when jobs were submitted."""
    started = [life for life in outcome.lives if life.first_admitted_at is not None]
    end = max((life.job.created for life in started), default=0.0)
    width = end / _BINS or 1.0
    found: dict[str, dict[int, list[float]]] = {}
    for life in started:
        assert life.first_admitted_at is not None
        bins = found.setdefault(life.job.queue, {})
        number = min(int(life.job.created / width), _BINS - 1)
        bins.setdefault(number, []).append(life.first_admitted_at - life.job.created)
    return [
        _Line(
            queue,
            [(number + 0.5) * width for number in sorted(bins)],
            [percentile(sorted(bins[number]), 90) for number in sorted(bins)],
        )
        for queue, bins in sorted(found.items())
    ]


def _plot(
    title: str,
    about: str,
    lines: Sequence[_Line],
    *,
    unit: str = "",
    percent: bool = False,
    bounds: tuple[float, float] | None = None,
) -> Plot:
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    axes = figure.subplots()
    longest = max((line.times[-1] for line in lines if len(line.times)), default=0.0)
    scale = next(name for least, name in _UNITS if longest >= least)
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        x = [time / _SECONDS[scale] for time in line.times]
        axes.plot(x, list(line.values), color=colour, linewidth=1.4, label=line.label)
    _dress(axes, f"{scale} of virtual time", unit)
    if percent:
        axes.yaxis.set_major_formatter(_as_percent)
    if bounds is not None:
        axes.set_ylim(bounds[0], bounds[1] * 1.03)
    else:
        axes.set_ylim(bottom=0)
    if len(lines) > 1:
        # above the lines, not on them
        axes.legend(
            frameon=False, labelcolor=_INK, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8
        )
    return Plot(title, about, _svg(figure, title))


def _as_percent(value: float, _position: float) -> str:
    return f"{value * 100:.0f} %"


def _dress(axes: Axes, below: str, unit: str) -> None:
    axes.set_xlabel(below, color=_INK, fontsize=8)
    axes.set_ylabel(unit, color=_INK, fontsize=8)
    axes.tick_params(colors=_INK, labelsize=8, length=0)
    axes.grid(visible=True, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _svg(figure: Figure, title: str) -> str:
    """Return a figure as an `svg` element with the colours of the page, the same for the same figure."""
    figure.patch.set_visible(False)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)  # texts have the font of the page
    # The ids of a figure are its own: those of two figures in one page would be the same otherwise.
    prefix = re.sub(r"\W", "", title.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    names = {_INK: "ink", _GRID: "grid"} | {each: f"line-{n}" for n, each in enumerate(_COLOURS)}
    for colour, name in names.items():
        text = text.replace(colour, f"var(--{name})")
    opening = rf'<svg viewBox="\1" role="img" aria-label="{title}">'
    return re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', opening, text, count=1)
