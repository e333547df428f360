"""What data a job needs, as manifests on the site: it is not submitted before they are verified there.

The table of the job file::

    [data]
    manifests = ["/scratch/project_465000001/digits/.aifa-manifest.jsonl"]
    check = "known"            # or "sample", or "full"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from aifa_hpc.errors import Problem
from aifa_hpc.jobs.values import ABSOLUTE, Spec, is_path, refuse, show_list
from aifa_hpc.manifest import MANIFEST
from aifa_hpc.sites.strict import nearest, show

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKS = ("known", "sample", "full")


class Data(Spec, frozen=True, kw_only=True):
    """Data that must be there.

    Attributes:
        manifests: Absolute paths on the site, of manifests that copies published.
        check: ``known`` hashes what was not proven before from here or was touched since; ``sample`` looks at every
            file's size and time and hashes some blocks; ``full`` hashes every byte.
    """

    manifests: tuple[str, ...]
    check: Literal["known", "sample", "full"] = "known"

    def __post_init__(self) -> None:
        refuse("data", self._problems())

    def _problems(self) -> Iterator[Problem]:
        if self.check not in CHECKS:
            rule = f"must be one of {', '.join(CHECKS)}"
            yield Problem(key="check", value=show(self.check), rule=rule, nearest=nearest(str(self.check), CHECKS))
        manifests: object = self.manifests
        if isinstance(manifests, str) or not isinstance(manifests, (list, tuple)) or not manifests:
            near = show_list([manifests]) if isinstance(manifests, str) else ""
            yield Problem(key="manifests", value=show(manifests), rule="must be a list of paths", nearest=near)
            return
        msgspec.structs.force_setattr(self, "manifests", tuple(manifests))
        for path in manifests:
            if not is_path(path) or ".." in path.split("/"):
                yield Problem(key="manifests", value=show(path), rule=f"{ABSOLUTE}, and without '..'")
            elif not path.endswith(MANIFEST):
                rule = f"names no manifest: its name ends with {MANIFEST}, and `aifa stage copy` publishes it"
                yield Problem(key="manifests", value=show(path), rule=rule, nearest=f"{path.rstrip('/')}/{MANIFEST}")
