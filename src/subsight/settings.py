"""What an operator may set: `subsight.toml` in the workspace, then `SUBSIGHT_*` in the environment."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from subsight.errors import ConfigurationError

__all__ = ["Settings", "beginning", "load"]


class Settings(BaseSettings):
    """Every setting with its default; each is also `SUBSIGHT_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="SUBSIGHT_", extra="forbid", frozen=True)

    engine: Literal["duckdb", "spark"] = Field("duckdb", description="where rows are touched")
    memory: str = Field(
        "3GB",
        pattern=r"^[1-9][0-9]*(\.[0-9]+)?\s?[KMGTkmgt]i?[Bb]$",
        description="what the engine holds before it spills to disk",
    )
    time_zone: str = Field("UTC", description="the operator's IANA zone: reads times without offset")
    identifiers: Literal["pseudonymous", "clear"] = Field(
        "pseudonymous", description="whether identifiers are replaced at ingest"
    )
    treatment: Literal["mean", "median", "winsorise", "none"] = Field(
        "mean", description="what replaces missing values and outliers in treated columns"
    )
    minimum_group: int = Field(15, ge=1, description="smaller groups of subscribers are suppressed")
    minimum_handset_subscribers: int = Field(
        100, ge=1, description="handsets with fewer subscribers are left out of handset comparisons"
    )
    minimum_overlap_share: float = Field(
        0.5, ge=0, le=1, description="share of subscribers to be seen in both periods to compare them"
    )
    reject_limit_share: float = Field(
        0.5, ge=0, le=1, description="an input with a larger share of rejected records is refused"
    )
    fit_limit: int = Field(1_000_000, ge=100, description="subscribers that models are fitted on at most")
    starts: int = Field(10, ge=1, description="k-means starts")
    segment_source: Literal["", "subscribers", "profiles"] = Field(
        "", description="who is divided into segments; by default as before, else the subscriber tables"
    )
    segment_inputs: list[str] = Field(
        [], description="columns to divide by; by default as before, else region, tenure and volumes"
    )
    segment_region: Literal["", "one-hot", "numeric"] = Field(
        "", description="region as categories, or as a number; by default as before, else one-hot"
    )
    segment_group_weight: float = Field(
        1.0, gt=0, description="how many standardised numbers the categories of one text weigh as"
    )
    segment_count: int = Field(
        0, ge=0, le=50, description="how many segments; by default as before, else as the elbow says"
    )
    segment_names: list[str] = Field(
        ["Platinum", "Gold", "Silver", "Diamond"],
        min_length=1,
        description="names of the segments, first that of the longest tenure and largest volume",
    )
    customer_networks: list[str] = Field(
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"],
        description="networks (CIDR) whose addresses are customers'; by default the private and shared ones",
    )
    classification_rules: str = Field(
        "", description="TOML file with rules of your own that name services (docs/classification.md)"
    )
    port_registry: str = Field(
        "", description="IANA's service-names-port-numbers.csv to use instead of the one that is carried"
    )
    as_of: str = Field(
        "",
        pattern=r"^(\d{4}-\d{2}-\d{2})?$",
        description="local date that recency is counted from, by default the last one seen, "
        "and on which offers have to be valid, by default today",
    )
    period_days: int = Field(7, ge=1, description="length of the period that is compared with the one before")
    rfm_cuts: dict[str, list[float]] = Field(
        {},
        description="exactly four ascending cut points each, which make five scores, "
        "for any of recency_days, active_days, flow_count and total_bytes; by default quintiles",
    )
    offer_source: Literal["", "usage", "profiles"] = Field(
        "", description="what the map of offers is made of; by default ingested usage, else profiles"
    )
    offer_map_nodes: int = Field(375, ge=4, le=10_000, description="nodes of the map of offers at most")
    offer_map_topology: Literal["hexagonal", "rectangular"] = Field(
        "hexagonal", description="grid of the map of offers"
    )
    offer_map_epochs: int = Field(20, ge=1, le=1_000, description="epochs that the map of offers is trained")
    offer_fit_limit: int = Field(
        200_000, ge=100, description="subscribers that the map of offers is fitted on at most"
    )
    offer_nodes_file: str = Field(
        "", description="CSV (node, offer_id; the best first) that says what nodes are offered"
    )
    offer_count: int = Field(3, ge=1, le=20, description="offers that a subscriber is recommended at most")
    offer_defaults: list[str] = Field(
        ["F3000G100M", "F1200G50M", "F3000G200M"],
        description="offers of subscribers who cannot be told anything better",
    )
    offer_margin_floor: float = Field(
        0.0, description="offers with a smaller margin are not recommended; an unknown one passes"
    )
    offer_least_experience: float = Field(
        25.0, ge=0, le=100, description="experience index below which nobody is sold anything"
    )
    offer_contact_cap: int = Field(
        0, ge=0, description="published recommendations after which a subscriber gets no more; 0 is no cap"
    )
    offer_contact_days: int = Field(30, ge=1, description="days back in which contacts are counted")
    offer_holding_days: int = Field(
        30, ge=0, description="days for which a subscriber has an offer that was bought"
    )
    offer_exploration_share: float = Field(
        0.05, ge=0, le=0.5, description="share of subscribers whose offers are drawn at random, to learn"
    )
    offer_holdout_share: float = Field(
        0.05, ge=0, lt=1, description="share of subscribers who are offered nothing, to compare with"
    )
    offer_response_days: int = Field(
        14, ge=1, description="days after a recommendation in which a purchase answers it"
    )
    minimum_r2: float = Field(
        0.0, le=1, description="a trained model that explains less on held-out subscribers is not promoted"
    )
    retrain_days: float = Field(
        30, ge=0, description="a champion older than this calls for training; 0: age alone never does"
    )
    drift_ks: float = Field(
        0.1, gt=0, le=1, description="Kolmogorov-Smirnov distance of a number below which drift is no matter"
    )
    drift_psi: float = Field(
        0.1, gt=0, description="population stability index of a text below which drift is no matter"
    )
    drift_alarm_rate: float = Field(
        0.01, gt=0, lt=1, description="how often a look at unchanged data may find any drift"
    )
    webhook_url: str = Field(
        "",
        pattern="^(https?://.*)?$",
        description="address that is sent a JSON message when training is called for",
    )
    tracking_uri: str = Field(
        "", description="MLflow store that fits are copied to, or off; by default SQLite in the workspace"
    )
    audit: Literal["grouped", "strict"] = Field(
        "grouped", description="strict: a prediction is on disk in the audit log before it is answered"
    )
    audit_rotate_bytes: int = Field(
        64_000_000, ge=1000, description="an audit file that exceeds it is continued in another"
    )
    audit_keep_days: float | None = Field(
        None, ge=0, description="audit files whose last record is older are removed, and that is recorded"
    )
    experiment: Literal["shadow", "ab", "off"] = Field(
        "shadow",
        description="what a challenger does: shadow predicts beside the champion, ab answers its share",
    )
    challenger_share: float = Field(
        0.5, gt=0, lt=1, description="share of subscribers whom the challenger answers where experiment is ab"
    )
    auth: Literal["keys", "off"] = Field(
        "keys", description="whether the service asks for API keys; without any it serves this machine only"
    )
    request_rate: float = Field(
        20_000, ge=0, description="requests a second that one caller may send; 0 for no limit"
    )
    request_concurrency: int = Field(512, ge=1, description="requests worked on at once; more are a 503")
    request_bytes: int = Field(10_000_000, ge=1000, description="the largest body of a request")
    acumos_inputs: Literal["standardised", "raw"] = Field(
        "standardised", description="what Acumos clients send: z-scores, or values as recorded"
    )
    seed: int = Field(7, ge=0, description="of every random choice")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("no such IANA time zone")
        return value


def beginning(settings: Settings) -> datetime:
    """When the day `as_of`, or today, begins in the operator's time zone.

    Raises:
        ConfigurationError: `as_of` is no date.
    """
    zone = ZoneInfo(settings.time_zone)
    try:
        day = datetime.fromisoformat(settings.as_of) if settings.as_of else datetime.now(zone)
    except ValueError as error:
        raise ConfigurationError(
            "the setting as_of is no date", found=settings.as_of, expected="YYYY-MM-DD", do=str(error)
        ) from error
    return day.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=zone)


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """Settings from a TOML file, the environment and keyword overrides, the last one winning.

    Raises:
        ConfigurationError: the file is no TOML, a name is unknown, or a value is out of range.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML", found=str(error), do="mend the file") from error
    try:
        environment = Settings().model_dump(exclude_unset=True)
        return Settings(**{**written, **environment, **{k: v for k, v in overrides.items() if v is not None}})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"the setting {name} is not usable",
            found=repr(first.get("input")),
            expected=first["msg"],
            do=f"settings are {', '.join(Settings.model_fields)}",
        ) from error
