"""Settings of what watches and repeats: health, validation, outcomes, the schedule, notebooks."""

from __future__ import annotations

from datetime import date

from pydantic import Field, PositiveFloat, PositiveInt

from feature_repo.sections.section import Port, Section


class HealthSettings(Section):
    """When ``python -m ingestion health`` raises an alarm, and where the stream serves its monitoring page and metrics."""

    host: str = Field("127.0.0.1", description="address at which the stream serves its monitoring page and metrics")
    port: int = Field(
        9464, ge=0, le=65_535, description="port of the monitoring page and of Prometheus metrics; 0: none"
    )
    window_minutes: float = Field(15.0, gt=0, description="length of the window that rates and shares are taken over")
    lag_messages: PositiveInt = Field(
        1_000, description="most messages of a Kafka partition that may wait for the stream"
    )
    lag_seconds: PositiveFloat = Field(120.0, description="how long more messages than that may wait")
    event_delay_seconds: float = Field(
        3_600.0, description="within this time of happening, 95 % of the events must have arrived"
    )
    view_seconds: PositiveFloat = Field(60.0, description="how long the online store may lack what has arrived")
    min_events: int = Field(20, description="fewest events in the window from which the delay is judged")
    quiet_share: float = Field(0.3, description="a feed below this share of its usual rate is too quiet")
    quiet_min_events: float = Field(30.0, description="usual events per window from which a feed's rate is judged")
    partition_min_events: float = Field(
        50.0, description="events per window in the other partitions from which a quiet one is an alarm"
    )
    violation_share: float = Field(
        0.01, description="share of events refused for one reason and field that is too much"
    )
    violation_min_events: int = Field(10, description="fewest such events in the window that are an alarm")
    model_days: float = Field(14.0, gt=0, description="days since its training after which the model is too old")


class ValidationSettings(Section):
    """What ``python -m ingestion validate`` and ``python -m training drift`` take for a violation."""

    days: int = Field(7, ge=1, description="how many of the last days of events and features are looked at")
    volume_drop: float = Field(
        0.4, ge=0, le=1, description="a day with less than this share of the usual rows is violated"
    )
    volume_rise: float = Field(3.0, ge=1, description="so is one with more than so many times the usual rows")
    volume_min_rows: float = Field(50.0, ge=0, description="usual rows per day from which a kind of event is judged")
    accepted_days: list[date] = Field(
        [],
        description="days of which it is known why they have more or fewer rows than usual: they are not judged by that",
    )
    drift_psi: float = Field(
        0.25,
        gt=0,
        description="population stability index of a feature or score, training to serving, that is violated",
    )
    drift_min_customers: int = Field(
        300, ge=1, description="with fewer of them, drift is not judged: chance alone would often look like it"
    )


class OutcomeSettings(Section):
    """What counts as the outcome of a recommendation that was shown; after a change, all of them are counted anew."""

    click_minutes: float = Field(
        30.0, gt=0, description="a click counts for the list that showed the product if it comes within this time"
    )
    order_hours: float = Field(24.0, gt=0, le=720, description="the same for carts and orders")
    every_seconds: float = Field(
        300.0,
        ge=0,
        description="how often the stream brings the table `outcomes` up to date; 0: `python -m ingestion outcomes` alone does",
    )


class AutomationSettings(Section):
    """What Airflow (`make airflow`) runs, and when. Schedules are cron expressions; empty: only by hand."""

    host: str = Field("127.0.0.1", description="address that Airflow's pages and API listen on")
    port: Port = Field(8090, description="port of Airflow's pages and API")
    time_zone: str = Field("UTC", description="time zone of the schedules, for example Europe/Berlin")
    catalog: str = Field("", description="catalogue to load: a file, a folder or a Delta table; empty: none")
    catalog_snapshot: bool | None = Field(
        None,
        description="whether the catalogue lists all products, so that others are gone; unset: if it is a Delta table",
    )
    catalog_schedule: str = Field("*/15 * * * *", description="when changes of the catalogue are looked for")
    pulls: tuple[str, ...] = Field((), description='TOML files of `python -m ingestion pull`, as ["shop.toml"]')
    pull_schedule: str = Field("*/10 * * * *", description="when the APIs are pulled")
    materialize_schedule: str = Field("5 * * * *", description="when `feast materialize-incremental` runs")
    publish_schedule: str = Field("*/15 * * * *", description="when the warehouse is filled, if it is a Postgres")
    nightly_schedule: str = Field("30 2 * * *", description="when the nightly checks and the compaction run")
    retrain_schedule: str = Field("0 4 * * *", description="when a challenger is trained and compared")
    watch_schedule: str = Field("*/5 * * * *", description="when the live metrics of the promoted model are looked at")
    fresh_data_hours: float = Field(6.0, gt=0, description="how long retraining waits for fresh events before it fails")
    fresh_data_check_minutes: float = Field(10.0, gt=0, description="how often it looks for them meanwhile")
    retries: int = Field(3, ge=0, description="how often a step that failed is tried again")
    retry_seconds: float = Field(60.0, gt=0, description="pause before that; it doubles with each further try")
    timeout_minutes: float = Field(60.0, gt=0, description="longest time of a step; then it is ended and tried again")
    retrain_timeout_minutes: float = Field(480.0, gt=0, description="the same of the retraining")


class NotebooksSettings(Section):
    """The notebooks for analysts."""

    data: str = Field(
        "",
        description="file or folder of contract events that notebooks read; empty: what the installation holds or, if that "
        "is nothing, a small invented shop",
    )
