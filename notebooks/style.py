"""How plots look, and the few kinds of plot that several notebooks draw."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from IPython.display import Markdown, display
from matplotlib.axes import Axes

from training.evaluation.measures import Estimate

# Told apart also by people who do not see all colours, and in grey.
BLUE, ORANGE, GREEN, RED, GREY = "#1f5fa8", "#e08a1e", "#2f9e77", "#c2373f", "#8a8f98"
_INK = "#24292f"


def use_style() -> None:
    """Let all plots of a notebook look alike."""
    plt.rcParams.update(
        {
            "figure.figsize": (9.0, 4.2),
            "figure.dpi": 96,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, RED, GREY]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.titlesize": 12,
            "axes.titlepad": 10,
            "axes.labelcolor": _INK,
            "axes.edgecolor": GREY,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e6e8eb",
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "legend.frameon": False,
        }
    )
    pd.set_option("display.max_colwidth", 120)
    pd.set_option("display.precision", 3)


def say(text: str) -> None:
    """Show a paragraph below a plot."""
    display(Markdown(text))


def draw_estimates(axes: Axes, estimates: dict[str, Estimate], color: str = BLUE, shift: float = 0.0) -> None:
    """A line per name, the first on top: the mean as a point, its 95% interval as a bar.

    Args:
        shift: moves the points down by so much of a line, so that several series do not hide each other.
    """
    places = np.arange(len(estimates)) + shift
    for place, found in zip(places, estimates.values(), strict=True):
        if found.mean is None or found.low is None or found.high is None:
            continue
        axes.plot([found.low, found.high], [place, place], color=color, linewidth=3, alpha=0.35)
        axes.plot(found.mean, place, "o", color=color)
    axes.set_yticks(np.arange(len(estimates)), list(estimates))
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def draw_bars(axes: Axes, values: pd.Series, labels: Sequence[str], color: str = BLUE) -> None:
    """Bars from top to bottom, each with a label at its end."""
    places = np.arange(len(values))
    axes.barh(places, values, color=color)
    for place, value, label in zip(places, values, labels, strict=True):
        axes.annotate(label, (value, place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, list(values.index))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.2)


def draw_heatmap(axes: Axes, frame: pd.DataFrame, most: float = 1.0) -> None:
    """Shares as colours, with the percentage written in; cells without a value stay empty."""
    shares = frame.to_numpy(dtype=float)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=most, aspect="auto")
    for row, column in zip(*np.nonzero(np.isfinite(shares)), strict=True):
        share = shares[row, column]
        color = "white" if share > 0.6 * most else _INK
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(np.arange(frame.shape[1]), [str(name) for name in frame.columns])
    axes.set_yticks(np.arange(frame.shape[0]), [str(name) for name in frame.index])
    axes.grid(visible=False)
