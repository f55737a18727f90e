"""Settings of the recommendation service."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import Field, PositiveFloat, PositiveInt

from feature_repo.sections.section import Key, Port, Section
from feature_repo.web.basic_auth import authorization_of


class ServingSettings(Section):
    """The BentoML service."""

    host: str = Field("127.0.0.1", description="address the service listens on")
    port: Port = Field(3000, description="port of the service")
    model: str = Field(
        "shelfwise:promoted",
        description="tag in BentoML's model store: `promoted` is the version that was promoted last; or name one",
    )
    workers: PositiveInt = Field(1, description="worker processes")
    metrics_folder: str = Field(
        "",
        description="where this replica keeps its counts for /metrics while it runs; empty: one of its own in the home",
    )
    max_k: PositiveInt = Field(100, description="most recommendations one request may ask for")
    snapshot_seconds: PositiveFloat = Field(
        1.0, description="how often the worker looks for item features that changed"
    )
    stale_seconds: float = Field(
        30.0, gt=0, description="item features in memory that are older than this are told (`degraded`), and not ready"
    )
    deadline_ms: float = Field(
        50.0,
        gt=0,
        description="time in which a request is answered: what does not fit is left out, and told (`degraded`)",
    )
    read_timeout_ms: float = Field(
        25.0, gt=0, description="share of the deadline that reading the customer's features may take"
    )
    max_concurrency: int = Field(
        16, ge=1, description="requests that a worker has in hand at once; beyond, it answers 429 with Retry-After"
    )
    read_keys: tuple[Key, ...] = Field(
        (),
        description='keys of which a request for recommendations must send one (basic auth user name), as ["..."]; none: '
        "anybody may ask",
    )
    requests_per_second: float = Field(
        0.0, ge=0, description="most requests per second with one key (of each worker); 0: no limit"
    )
    max_body_bytes: PositiveInt = Field(65_536, description="largest request body accepted")
    model_poll_seconds: PositiveFloat = Field(
        5.0, description="how often the worker looks for a newer model or changed rules"
    )
    rules_file: str = Field("", description="TOML file of the shop's own scenarios and rules; empty: none")
    experiments_file: str = Field("", description="TOML file of the experiments that are under way; empty: none")
    log_answers: bool = Field(
        True, description="whether answers are sent to Kafka, so that outcomes can be counted by what was answered"
    )
    storefront: bool | None = Field(
        None,
        description="whether `/` is a small shop for showing and looking into the system; it shows customers' features, so "
        "for your own network only; not set: if `host` is this machine alone",
    )

    @property
    def shows_storefront(self) -> bool:
        if self.storefront is not None:
            return self.storefront
        return is_this_machine(self.host)

    @property
    def authorization(self) -> dict[str, str]:
        """The headers that let a request for recommendations in."""
        if not self.read_keys:
            return {}
        return {"Authorization": authorization_of(self.read_keys[0].get_secret_value())}


def is_this_machine(host: str) -> bool:
    """Whether a host is known to nobody else by this name or address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
