"""When to ask next: often for young jobs, seldom for old ones, never more often than the site allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime

FIRST_SECONDS = 2.0
"""Delay before a young job is asked about again; short failures show within seconds."""

_SHARE = 8
"""A job is asked about again after an eighth of its age, so that its end is noticed at most 12.5 % late."""


def interval(age_seconds: float, site_seconds: float) -> float:
    """Seconds until the next question.

    Args:
        age_seconds: Time since the youngest job still going on last changed its state.
        site_seconds: The site's polite interval, which old jobs are asked at.
    """
    return min(site_seconds, max(FIRST_SECONDS, age_seconds / _SHARE))


def outage_seconds(failures: int) -> float:
    """Seconds to leave a site alone after it could not be asked so many times in a row: 5, 10, 20, up to 300.

    Sites block addresses that connect too often, and an outage of hours is not shortened by asking.
    """
    return min(300.0, 2.5 * 2.0 ** min(failures, 10))


def window(oldest: datetime.datetime, now: datetime.datetime) -> str:
    """``sacct --starttime`` for jobs of which the oldest is so old; without one it forgets what ended before midnight.

    A number of days by the site's clock, one or two more than needed: what ours shows may be wrong by years.
    """
    return f"now-{max(0, (now - oldest).days) + 2}days"
