"""Plans as files: what is written is read, and what is none is told with every problem."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError
from aifa_hpc.staging.model import Found
from aifa_hpc.staging.plan import Action, Plan, Verdict
from aifa_hpc.staging.planfile import PlanFile, read_plan, write_plan

paths = st.sampled_from(["a", "c/d", "caf\udce9", "new\nline", "it's; $(id)"])
founds = st.builds(
    Found,
    path=paths,
    size=st.integers(0, 2**60),
    pin=st.text(max_size=5),
    mtime_ns=st.integers(0, 2**62),
    executable=st.booleans(),
)
digests = st.none() | st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)
sends = st.builds(
    Action,
    verdict=st.just(Verdict.SEND),
    file=founds,
    path=paths,
    there=st.none() | founds,
    here_blocks=digests,
    there_blocks=digests,
)
skips = st.builds(Action, verdict=st.just(Verdict.SKIP), file=founds, path=paths, there=founds, there_blocks=digests)
plans = st.builds(
    Plan,
    actions=st.lists(sends | skips, max_size=4).map(tuple),
    ignored=st.lists(paths, max_size=2).map(tuple),
    deletes=st.lists(founds, max_size=2).map(tuple),
    spared=st.lists(paths, max_size=2).map(tuple),
)


def file_of(plan: Plan) -> PlanFile:
    """A file of that plan."""
    return PlanFile(
        source="src", destination="lumi:/x", data_class="open", made="now", tool="0", only="", name="", plan=plan
    )


@given(plans)
def test_what_is_written_is_read(plan: Plan) -> None:
    """All of it, in ASCII."""
    text = "".join(write_plan(file_of(plan)))
    assert (file_of(plan), True) == (read_plan(text, "p"), text.isascii())


ONE = Plan(actions=(Action(verdict=Verdict.SEND, file=Found(path="a", size=1, pin="p"), path="a"),))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
@pytest.mark.parametrize("where", ["path", "here"])
def test_a_path_that_leaves_is_refused(path: str, where: str) -> None:
    """Whoever edited the file."""
    value = json.loads("".join(write_plan(file_of(ONE))))
    if where == "path":
        value["actions"][0]["path"] = path
    else:
        value["actions"][0]["here"]["path"] = path
    with pytest.raises(InputError, match="relative"):
        read_plan(json.dumps(value), "p")


def test_all_problems_are_told_at_once() -> None:
    """With their keys."""
    value = json.loads("".join(write_plan(file_of(ONE))))
    value["actions"][0] |= {"verdict": "delete", "extra": 1}
    value["actions"][0]["here"]["size"] = -1
    with pytest.raises(InputError) as caught:
        read_plan(json.dumps(value), "p")
    keys = {problem.key for problem in caught.value.problems}
    assert {"actions[0].verdict", "actions[0].extra", "actions[0].here.size"} == keys


def test_a_skip_needs_something_to_skip() -> None:
    """An edited plan cannot claim that a file is there."""
    value = json.loads("".join(write_plan(file_of(ONE))))
    value["actions"][0]["verdict"] = "skip"
    with pytest.raises(InputError, match="not at the destination"):
        read_plan(json.dumps(value), "p")
