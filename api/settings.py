"""How the service is set up: environment variables that begin with TRAFFIC_."""

import re
import secrets
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from traffic.forecasting.calendar import Calendar

MIN_TOKEN_CHARS = 16


def _check_token(token: SecretStr) -> SecretStr:
    """Return it; raises ValueError unless a header may carry it (RFC 6750 section 2.1)."""
    text = token.get_secret_value()
    if len(text) < MIN_TOKEN_CHARS or not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", text):
        raise ValueError(f"needs at least {MIN_TOKEN_CHARS} characters, of A-Z a-z 0-9 . _ ~ + / -")
    return token


def _split(text: object) -> object:
    if not isinstance(text, str):
        return text
    return [part.strip() for part in text.split(",") if part.strip()]


class Settings(BaseSettings):
    """What a deployment may change. Raises pydantic.ValidationError with all problems at once."""

    model_config = SettingsConfigDict(
        env_prefix="TRAFFIC_",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # one of them is a secret
    )

    # For operator orders; None: generated at start.
    token: Annotated[SecretStr, AfterValidator(_check_token)] | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080  # 0: any free one
    # The simulated day; not so early or late that a moment has no date.
    day: Annotated[date, Field(ge=date(1900, 1, 1), le=date(9000, 1, 1))] = date(2025, 3, 10)
    # Days that pass like a Sunday, with commas between them.
    holidays: Annotated[tuple[date, ...], NoDecode, BeforeValidator(_split)] = ()
    # Asia/Shanghai, no daylight saving time.
    utc_offset_h: Annotated[float, Field(ge=-12, le=14)] = 8.0
    # How long a partner may keep what it fetched.
    advisory_max_age_s: Annotated[int, Field(ge=0)] = 15
    heartbeat_s: Annotated[float, Field(gt=0)] = 15.0
    events_kept: Annotated[int, Field(ge=1)] = 1000  # for readers who come back with Last-Event-ID
    # Events that wait for one reader before it is dropped.
    reader_backlog: Annotated[int, Field(ge=1)] = 256
    max_readers: Annotated[int, Field(ge=1)] = 64
    # A reader that takes nothing this long is dropped.
    send_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    max_body_bytes: Annotated[int, Field(ge=1)] = 16_384
    # Where what the engine has learned is kept from one run to the next; None: nowhere.
    memory: Path | None = None
    # A field silent this long, in real seconds, is dead.
    stale_s: Annotated[float, Field(gt=0)] = 30.0

    def build_calendar(self) -> Calendar:
        """Return what kinds of days those are that the engine counts from the simulated day on."""
        holidays = frozenset((holiday - self.day).days for holiday in self.holidays)
        return Calendar(self.day.weekday(), holidays=holidays)

    def to_utc(self, time_s: float) -> datetime:
        """Return the moment that lies time_s after the simulated day's local midnight, in UTC."""
        zone = timezone(timedelta(hours=self.utc_offset_h))
        midnight = datetime(self.day.year, self.day.month, self.day.day, tzinfo=zone)
        return midnight.astimezone(UTC) + timedelta(seconds=time_s)


def generate_token() -> str:
    """Return a token of 256 random bits."""
    return secrets.token_urlsafe(32)
