"""Where a submission lives on the site; a script that is only looked at has none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a submission lives on the site.

    Attributes:
        folder: The job's own folder; logs and the exit sentinel go there.
        token: The submission's token, put into the comment.
        name: The job's name in the queue, which contains the token.
        after: Ids of the job's own parts that must have ended before.
        links: For a chain, the folders of all its links in order.
    """

    folder: str
    token: str
    name: str
    after: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
