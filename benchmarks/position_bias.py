"""What is best done about the place of a product in a list, by measurement: products that stand first are clicked for that, too.

The ranker of lists is fitted in four ways on the lists before a moment, and judged on those after it:

  unknown       the place is no feature: what Shelfwise does
  neutral       the place is a feature when fitting; judged as if every product stood first, as none stands anywhere when serving
  known         the place is a feature in both: what could be had only if products were shown in the very order to be found
  propensity    no feature; a click counts the more the less its place is looked at (inverse propensity). How much it is looked at
                is estimated as its clicks beside those that its products would have by their overall click-through

Beside them, the order that was shown. Differences are to `unknown`, with 95% intervals over lists.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.table import Table
from stream_stack import show

from feature_repo.reading import Floats
from training.data.impressions import Impressions
from training.evaluation.measures import estimate, ndcg
from training.ranking.rankers import Purpose, Rows, fit_ranker, ranker_settings

# A place that is hardly ever looked at makes a click there count no more than this.
MOST_WEIGHT = 10.0


def measure(data: Path) -> Table:
    """Fit and judge, on events that are loaded as for ``python -m training evaluate``."""
    from feature_repo.ranking.shelf import Vocabularies
    from feature_repo.settings import get_settings
    from feature_repo.store import open_store
    from training.candidates.space import Spaces
    from training.data.events import Window
    from training.data.examples import Examples, Shelves
    from training.data.history import History
    from training.evaluation import installation
    from training.pipeline import fit_space, read_archive
    from training.steps import Steps

    installation.enter(installation.load(data, None))
    settings, steps = get_settings().training, Steps()
    with steps("lists and their features"):
        archive = read_archive(Window(), settings)
        history = History(open_store(), archive.ids, Vocabularies())
        shelves = Shelves.read(history, archive.cut, float(archive.impressions.times[-1]))
        parts = []
        for since, until in ((archive.cut, archive.split), (archive.split, np.inf)):
            lists = archive.impressions.between(since, until)
            space = Spaces.only(fit_space(archive, since, settings).on(shelves.shelves[0]))
            parts.append((lists, Examples.read(history, shelves, lists).matrix(shelves, space, Purpose.LIST)))
    (before, matrix), (after, judged) = parts
    rows = Rows(matrix, before.owner, before.strength > 0, np.ones(len(matrix)))
    scores = {"shown": -np.nan_to_num(after.position, nan=np.inf)}
    with steps("four rankers"):
        options = (ranker_settings(Purpose.LIST, settings), settings.seed)
        with_place = fit_ranker(replace(rows, matrix=np.column_stack([matrix, before.position])), *options)
        scores["unknown"] = fit_ranker(rows, *options).scores(judged)
        scores["neutral"] = with_place.scores(np.column_stack([judged, np.ones(len(judged))]))
        scores["known"] = with_place.scores(np.column_stack([judged, after.position]))
        scores["propensity"] = fit_ranker(replace(rows, weights=_inverse_propensity(before)), *options).scores(judged)
    values = {name: ndcg(after.owner, after.strength > 0, score, settings.seed) for name, score in scores.items()}
    return _table(values, len(before), settings.seed)


def _inverse_propensity(lists: Impressions) -> Floats:
    """Weights of rows: of clicks by their place, of others 1."""
    clicked = lists.strength > 0
    shown, clicks = np.bincount(lists.items), np.bincount(lists.items, clicked)
    expected = (clicks / np.maximum(shown, 1))[lists.items]
    place = np.nan_to_num(lists.position, nan=0).astype(int)
    looked_at = np.bincount(place, clicked) / np.maximum(np.bincount(place, expected), np.finfo(float).tiny)
    weights = np.minimum(looked_at.max() / np.maximum(looked_at, np.finfo(float).tiny), MOST_WEIGHT)
    return np.where(clicked, weights[place], 1.0)


def _table(values: dict[str, Floats], lists: int, seed: int) -> Table:
    judged = len(values["unknown"])
    table = Table(title=f"place in a list: fitted on {lists:,} lists, judged on the {judged:,} that followed")
    table.title_justify = "left"
    for heading in ("place", "NDCG@10", "difference", "95% interval"):
        table.add_column(heading, justify="left" if heading == "place" else "right")
    for name, value in values.items():
        difference = estimate(value - values["unknown"], seed)
        cells = ("", "")
        if name != "unknown":
            cells = (f"{difference.mean:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}")
        table.add_row(name, f"{value.mean():.4f}", *cells)
    return table


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="a file or folder of contract events")
    show(measure(parser.parse_args().data))


if __name__ == "__main__":
    main()
