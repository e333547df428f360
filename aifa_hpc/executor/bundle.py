"""Packs calls for the node: the functions and arguments as pickles, the program that runs them, and cloudpickle.

One zip archive, which Python runs as it is::

    calls.pyz
        __main__.py             executor.runner
        about.json              {"python": [3, 11], "workdir": ""}
        functions/0             each function once, by cloudpickle
        calls/0, calls/1, ...   (number of the function, pickle of args and kwargs)
        cloudpickle/            as it is installed here, with its licence

cloudpickle is pure Python, so nothing must be installed on the node or in the image.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.units import show_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

MOST_BYTES = 16 << 20
"""Largest bundle. Data goes by ``stage``, which asks what it is, resumes and proves it; not along with a call."""

_LONGEST_TRACE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One call.

    Attributes:
        function: What to call.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def pack(works: Sequence[Work], *, by_value: Sequence[ModuleType] = (), workdir: str = "") -> bytes:
    """The bundle of some calls.

    Args:
        works: In the order of their indices.
        by_value: Modules whose functions and classes travel with the call, because the node does not have them.
        workdir: Folder on the site that the functions start in; empty is the job's own.

    Raises:
        InputError: Something cannot be pickled, or it is too large.
    """
    import cloudpickle  # noqa: PLC0415 - only where functions are submitted

    numbers: dict[int, int] = {}
    members: dict[str, bytes] = {}
    with _by_value(by_value):
        for index, work in enumerate(works):
            try:
                if id(work.function) not in numbers:
                    numbers[id(work.function)] = len(numbers)
                    members[f"functions/{len(numbers) - 1}"] = cloudpickle.dumps(work.function)
                number = numbers[id(work.function)]
                arguments = cloudpickle.dumps((work.args, work.kwargs))
                members[f"calls/{index}"] = cloudpickle.dumps((number, arguments))
            except Exception as error:
                what = getattr(work.function, "__qualname__", repr(work.function))
                raise InputError(
                    f"the call of {what} cannot be pickled: {str(error)[:_LONGEST_TRACE]}.",
                    hint="Locks, open files, connections and generators cannot travel; make them inside the function.",
                ) from error
    members["about.json"] = json.dumps({"python": list(sys.version_info[:2]), "workdir": workdir}).encode()
    members["__main__.py"] = resources.files("aifa_hpc.executor").joinpath("runner.py").read_bytes()
    data = _archive(members | _cloudpickle_files())
    if len(data) > MOST_BYTES:
        raise InputError(
            f"the call is {show_size(len(data))} large, and at most {show_size(MOST_BYTES)} go along with a call.",
            hint="Copy data with `aifa stage copy` and give the function its path.",
        )
    return data


def _archive(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


def _cloudpickle_files() -> dict[str, bytes]:
    """The package's own files, and its licence, which must go with copies of it."""
    distribution = metadata.distribution("cloudpickle")
    found: dict[str, bytes] = {}
    for path in distribution.files or ():
        if path.parts[0] == "cloudpickle" and path.suffix == ".py":
            found[str(path)] = path.read_binary()
        elif path.name.startswith("LICENSE"):
            found[f"cloudpickle/{path.name}"] = path.read_binary()
    return found


@contextmanager
def _by_value(modules: Sequence[ModuleType]) -> Iterator[None]:
    import cloudpickle  # noqa: PLC0415 - only where functions are submitted

    with ExitStack() as stack:
        for module in modules:
            if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield
