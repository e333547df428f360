"""What lies over the live view for a while: a question before a job is cancelled, and a whole log."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Label, Log, Static

from aifa_hpc.views.board import fit
from aifa_hpc.views.words import log_lines

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from aifa_hpc.tracker.records import Row

_MOST_LINES = 100_000


class Sure(ModalScreen[bool]):
    """Asks whether a job is really to be cancelled; only ``y`` does it.

    Args:
        row: The job.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Cancel it"),
        Binding("n,escape,q,enter", "dismiss(False)", "Leave it"),
    ]

    def __init__(self, row: Row) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        row = self._row
        with Vertical(id="sure"):
            yield Label(f"Cancel job {row.job_id} on {fit(row.site, 20)}?", markup=False)
            yield Label(fit(f"{row.name}, {row.status.state}", 44), markup=False)
            yield Label("y  cancel it    n  leave it", id="keys", markup=False)


class LogScreen(Screen[None]):
    """A whole log, which grows while the job runs.

    Args:
        title: Whose it is.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape,l", "dismiss", "Back"),
        Binding("g,home", "go('home')", "Top"),
        Binding("G,end", "go('end')", "End"),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._rest = ""

    def compose(self) -> ComposeResult:
        yield Static(self._title, id="head", markup=False)
        yield Log(id="log", max_lines=_MOST_LINES, highlight=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """The keys that scroll belong to the log."""
        self.query_one(Log).focus()
        self.add("")

    def add(self, text: str) -> None:
        """Some more of it; what is no whole line yet waits for its end, and all of it until there is a place for it."""
        whole, newline, rest = (self._rest + text).rpartition("\n")
        if newline and self.query(Log):
            self.query_one(Log).write_lines(log_lines(whole + newline))
            self._rest = rest
        else:
            self._rest += text

    def told(self, text: str) -> None:
        """A word in its place, below its title."""
        self.query_one("#head", Static).update(fit(f"{self._title}: {text}" if text else self._title, 300))

    def action_go(self, where: str) -> None:
        """Scrolls to an end."""
        log = self.query_one(Log)
        if where == "home":
            log.scroll_home(animate=False)
        else:
            log.scroll_end(animate=False)
