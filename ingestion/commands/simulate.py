"""``python -m ingestion simulate``: invent a shop, and write its history or send its live traffic."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from feature_repo.settings import get_settings
from feature_repo.time_arguments import moment
from ingestion.number_arguments import above_zero, count

DEFAULT_SEED = 7
FOLDER = "simulator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="simulation", required=True, metavar="history|live|shoppers")
    _add_history(commands.add_parser("history", help="write events, catalogue and true tastes to files"))
    _add_live(commands.add_parser("live", help="send the shop's traffic to the collector, as it happens"))
    _add_shoppers(commands.add_parser("shoppers", help="ask the service for recommendations, and react to them"))


def run(args: argparse.Namespace) -> int:
    return {"history": _run_history, "live": _run_live, "shoppers": _run_shoppers}[args.simulation](args)


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = """\
Write the history of an invented shop: history/dt=YYYY-MM-DD/events.parquet, catalog.parquet, customers.parquet
(what each customer truly likes; for tests) and shop.json (for `simulate live`). The same arguments, with an --end,
give the same bytes."""
    parser.add_argument("--events", type=count, default=300_000, metavar="N", help="events (default: 300000)")
    parser.add_argument("--days", type=count, default=30, metavar="N", help="days of history (default: 30)")
    parser.add_argument("--end", type=_end, default="now", metavar="TIME", help="its end, ISO 8601 (default: now)")
    parser.add_argument("--products", type=count, default=1_000, metavar="N", help="products (default: 1000)")
    parser.add_argument("--customers", type=count, default=20_000, metavar="N", help="customers (default: 20000)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"another seed: another shop ({DEFAULT_SEED})")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"default: {FOLDER}/ in SHELFWISE_HOME")


def _add_live(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = """\
Send live traffic of the shop that `simulate history` invented: the same products, customers and tastes, what happens
now. Ends after --duration, or in good order on Ctrl-C or SIGTERM."""
    parser.add_argument("--rate", type=above_zero, default=50.0, metavar="N", help="events per second (default: 50)")
    parser.add_argument("--duration", type=above_zero, metavar="SECONDS", help="default: until stopped")
    parser.add_argument("--url", help="address of the collector (default: the one in the settings)")
    parser.add_argument("--shop", type=Path, metavar="FOLDER", help=f"default: {FOLDER}/ in SHELFWISE_HOME")


def _add_shoppers(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = """\
Customers of the shop that `simulate history` invented ask the running service for recommendations, see them, click what they
like, and perhaps order it. With --lift, they click what a variant of an experiment shows more often, or less: then it is known
what `python -m training experiment report` has to find.

example:
  python -m ingestion simulate shoppers --visits 2000 --lift bold=1.5"""
    parser.add_argument(
        "--visits", type=count, default=1_000, metavar="N", help="lists to be looked at (default: 1000)"
    )
    parser.add_argument(
        "--rate", type=above_zero, default=20.0, metavar="N", help="visits per second, at most (default: 20)"
    )
    parser.add_argument("--scenario", default="home", help="what is asked for (default: home)")
    parser.add_argument("-k", type=count, default=10, metavar="N", help="products per list (default: 10)")
    parser.add_argument(
        "--lift",
        type=_lift,
        action="append",
        default=[],
        metavar="VARIANT=FACTOR",
        help="so many times as likely a click on what the variant shows; may be repeated",
    )
    parser.add_argument("--seed", type=int, help="of chance (default: another one each time)")
    parser.add_argument("--service", help="address of the service (default: the one in the settings)")
    parser.add_argument("--url", help="address of the collector (default: the one in the settings)")
    parser.add_argument("--shop", type=Path, metavar="FOLDER", help=f"default: {FOLDER}/ in SHELFWISE_HOME")


def _run_history(args: argparse.Namespace) -> int:
    import time

    from ingestion.progress import progress_bar
    from ingestion.simulator.history import write_history
    from ingestion.simulator.shop import Shop, ShopParameters

    folder = args.out or get_settings().home / FOLDER
    shop = Shop(ShopParameters(args.seed, args.products, args.customers, args.days, args.end.isoformat()))
    started = time.monotonic()
    with progress_bar() as progress:
        task = progress.add_task("inventing", total=args.events)
        write_history(shop, args.events, folder, lambda done: progress.update(task, completed=done))
    elapsed = time.monotonic() - started
    print(f"{args.events:,} events of {args.days} days in {folder} ({elapsed:.1f} s, {args.events / elapsed:,.0f}/s)")
    return 0


def _run_live(args: argparse.Namespace) -> int:
    from ingestion.simulator.live import Traffic
    from ingestion.simulator.sender import send_live
    from ingestion.simulator.shop import Shop
    from ingestion.stopping import StopRequest

    settings = get_settings()
    shop = Shop.load(args.shop or settings.home / FOLDER)
    url = args.url or f"http://{settings.collector.host}:{settings.collector.port}"
    with StopRequest() as stop:
        send_live(Traffic(shop, args.rate), url, settings.collector.write_key, args.rate, args.duration, stop)
    return 0


def _run_shoppers(args: argparse.Namespace) -> int:
    from feature_repo.commands import result_console
    from ingestion.simulator.sender import Collector
    from ingestion.simulator.shop import Shop
    from ingestion.simulator.shoppers import Shoppers, as_table
    from ingestion.stopping import StopRequest

    settings = get_settings()
    service = args.service or f"http://{settings.serving.host}:{settings.serving.port}"
    url = args.url or f"http://{settings.collector.host}:{settings.collector.port}"
    with StopRequest() as stop:
        shoppers = Shoppers(Shop.load(args.shop or settings.home / FOLDER), dict(args.lift), args.seed)
        collector = Collector(url, settings.collector.write_key, stop)
        shoppers.visit(service, collector, args.scenario, args.k, args.visits, args.rate, stop)
    result_console().print(as_table(shoppers.done))
    return 0


def _lift(text: str) -> tuple[str, float]:
    variant, _, factor = text.partition("=")
    try:
        return variant, above_zero(factor)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like bold=1.5") from None


def _end(text: str) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) if text == "now" else moment(text)
