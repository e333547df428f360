"""The live view with keys pressed and values fed, as a terminal of several sizes would show it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from textual.widgets import DataTable, Log, Static

from aifa_hpc.staging.ledger import Remembered
from aifa_hpc.views.app import Watch
from aifa_hpc.views.board import SiteState, Watched
from aifa_hpc.views.feed import Jobs, LogText, Look, Notice
from aifa_hpc.views.screens import LogScreen, Sure
from tests.views.conftest import at, row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.pilot import Pilot

    from aifa_hpc.tracker.records import Row
    from aifa_hpc.views.feed import News

    Play = Callable[[Watch, "Fed", Pilot[None]], Awaitable[None]]

JOBS = tuple(
    Watched(row=row(state, start=start, token=token, job_id=number, changed_at=at(0), limit_seconds=3600))
    for token, number, state, start in (
        ("a", "101", "RUNNING", 0),
        ("b", "102", "PENDING", None),
        ("c", "103", "PENDING", None),
    )
)
OLD = Watched(row=row("FAILED", start=-99, end=-90, token="d", job_id="104", reason="[b]it broke[/b]"))


class Fed:
    """A feed that gives what the test hands over, and writes down what is asked of it."""

    def __init__(self, tell: Callable[[News], None]) -> None:
        self.tell = tell
        self.asked: list[object] = []

    def start(self) -> None:
        self.asked.append("start")

    def stop(self) -> None:
        self.asked.append("stop")

    def look(self, look: Look | None) -> None:
        self.asked.append(look)

    def cancel(self, job: Row) -> None:
        self.asked.append(f"cancel {job.job_id}")


def run(
    play: Callable[[Watch, Fed, Pilot[None]], Awaitable[None]], *news: News, size: tuple[int, int] = (80, 24)
) -> Fed:
    """Plays a scene: the view is open, has been fed, and has drawn that."""
    fed: list[Fed] = []

    def feed(tell: Callable[[News], None]) -> Fed:
        fed.append(Fed(tell))
        return fed[0]

    async def scene() -> None:
        app = Watch(feed, clock=lambda: at(30))
        async with app.run_test(size=size, notifications=True) as pilot:
            for one in news or (Jobs(jobs=(*JOBS, OLD), transfers=()),):
                fed[0].tell(one)
            await pilot.pause()
            await play(app, fed[0], pilot)

    asyncio.run(scene())
    return fed[0]


def screen(app: Watch) -> str:
    """What the terminal shows."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def settled(pilot: Pilot[None], done: Callable[[], bool]) -> None:
    """Waits for what the view does by its own timers."""
    for _ in range(200):
        if done():
            return
        await pilot.pause(0.02)
    raise AssertionError(screen(pilot.app))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 50)])
def test_jobs_are_shown_at_every_size(size: tuple[int, int]) -> None:
    """Running first, the bar, the keys, and nothing that is cut by the edge."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        shown = screen(app)
        lines = [line for line in shown.splitlines() if line.startswith(("RUNNING", "PENDING"))]
        assert ["101", "102", "103"] == [line.split()[1] for line in lines]
        assert "30:00/1:00:00" in lines[0]
        assert "1 running, 2 waiting, 1 over" in shown
        assert all(word in shown.splitlines()[-1] for word in ("Quit", "Active/all", "Log", "Cancel"))
        assert max(map(len, shown.splitlines())) <= size[0]

    run(play, size=size)


def test_a_shows_all_jobs_and_again_those_that_are_on() -> None:
    """What users wrote is text, not markup."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        assert "104" not in screen(app)
        await pilot.press("a")
        await pilot.pause()
        assert "[b]it broke[/b]" in screen(app)
        await pilot.press("a")
        await pilot.pause()
        assert "104" not in screen(app)

    run(play)


def test_only_y_cancels() -> None:
    """The question names the job; n leaves it."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        await pilot.press("c")
        assert isinstance(app.screen, Sure)
        assert "Cancel job 101 on lumi?" in screen(app)
        await pilot.press("n")
        assert not [word for word in fed.asked if str(word).startswith("cancel")]
        await pilot.press("c", "y")
        assert "cancel 101" in fed.asked

    run(play)


def test_an_end_is_not_cancelled() -> None:
    """It says why, and asks nobody."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        await pilot.press("a", "j", "j", "j", "c")
        await pilot.pause()
        assert not isinstance(app.screen, Sure)
        assert "job 104 is over already" in screen(app)

    run(play)


def test_a_job_that_stays_selected_has_its_log_read() -> None:
    """Only after a moment; what comes of another log is not shown, and a terminal's commands are taken out."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        await settled(pilot, lambda: Look(token="a", site="lumi", tail=100) in fed.asked)
        look = Look(token="a", site="lumi", tail=100)
        fed.tell(LogText(look=look, text="epoch 1\n\x1b[31mepoch"))
        fed.tell(LogText(look=look, text=" 2\x1b[0m\n"))
        fed.tell(LogText(look=replace(look, token="b"), text="another log\n"))
        await pilot.pause()
        assert "epoch 1\nepoch 2\n" in screen(app)
        assert "another log" not in screen(app)

    run(play)


def test_the_selection_stays_with_its_job() -> None:
    """Jobs come and go and change places around it; when it goes, its neighbour is selected."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        await pilot.press("j")
        ahead = Watched(row=row("RUNNING", start=1, token="e", job_id="105", changed_at=at(20)))
        fed.tell(Jobs(jobs=(ahead, *JOBS), transfers=()))
        await settled(pilot, lambda: "105" in screen(app))
        table = app.query_one(DataTable)
        assert "b" == table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        assert "digits 102 on lumi" in screen(app)
        fed.tell(Jobs(jobs=(ahead, JOBS[0]), transfers=()))
        await settled(pilot, lambda: "102" not in screen(app))
        assert "digits 101 on lumi" in screen(app)

    run(play)


def test_the_whole_log_opens_grows_and_closes() -> None:
    """It begins at its beginning; a line is shown when it is whole; keys of the list do nothing there."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        await pilot.press("l")
        look = Look(token="a", site="lumi", tail=0)
        assert look == fed.asked[-1]
        fed.tell(LogText(look=look, text="one\ntw"))
        fed.tell(LogText(look=look, text="o\n"))
        await pilot.pause()
        assert ["one", "two"] == [*app.screen.query_one(Log).lines][:2]
        await pilot.press("c", "a")
        assert isinstance(app.screen, LogScreen)
        await pilot.press("q")
        await settled(pilot, lambda: len(app.screen_stack) == 1)

    run(play)


def test_sites_and_transfers_have_their_lines() -> None:
    """One that is away comes first and says why; without transfers there is no room taken."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        shown = screen(app)
        assert shown.index("lumi is away: No route") < shown.index("jupiter: 1 active job")
        assert "copying for 1 min, 44 %: shards/ → lumi:/x" in shown
        fed.tell(Jobs(jobs=JOBS, transfers=()))
        await settled(pilot, lambda: not app.query_one("#transfers", Static).display)

    copy = Remembered(
        place="p", source="shards/", destination="lumi:/x", begun=at(29).timestamp(), files=1, bytes=9, done=4, pid=7
    )
    run(
        play,
        SiteState(name="jupiter", answered=at(30), jobs=1),
        SiteState(name="lumi", trouble="No route", again=at(31), jobs=2),
        Jobs(jobs=JOBS, transfers=(copy,)),
    )


def test_no_jobs_say_what_to_do() -> None:
    """Neither a crash nor an empty screen."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        assert "no jobs are active; a shows all" in screen(app)
        await pilot.press("c", "l", "j", "k", "enter", "a")
        await pilot.pause()
        assert "no jobs; aifa submit makes one" in screen(app)

    run(play, Jobs(jobs=(), transfers=()))


def test_q_and_ctrl_c_leave() -> None:
    """The feed ends with it."""

    async def leave(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        await pilot.press("q")

    async def interrupt(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        await pilot.press("l", "ctrl+c")

    assert ["stop", "stop"] == [run(play).asked[-1] for play in (leave, interrupt)]


def test_what_was_done_is_told() -> None:
    """A notice with what looks like markup is text."""

    async def play(app: Watch, fed: Fed, pilot: Pilot[None]) -> None:
        fed.tell(Notice(text="asked [lumi] to cancel"))
        await settled(pilot, lambda: "asked [lumi] to cancel" in screen(app))

    run(play)
