"""When to ask next: often for young jobs, seldom for old ones, never more often than the site allows."""

from __future__ import annotations

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
