"""``aifa watch``: jobs and transfers of all sites on a terminal, as they change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Protocol

from rich.text import Text
from textual import on
from textual.app import App
from textual.binding import Binding
from textual.message import Message
from textual.widgets import DataTable, Footer, Static

from aifa_hpc.tracker.poller import utc_now
from aifa_hpc.views.board import (
    Cell,
    SiteState,
    cells,
    columns,
    detail,
    fit,
    head,
    site_line,
    transfer_lines,
    visible,
)
from aifa_hpc.views.feed import Jobs, LogText, Look, Notice
from aifa_hpc.views.screens import LogScreen, Sure
from aifa_hpc.views.words import log_lines

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.events import Resize
    from textual.widgets.data_table import RowKey

    from aifa_hpc.staging.ledger import Remembered
    from aifa_hpc.tracker.records import Row
    from aifa_hpc.views.board import Column, Shown, Watched
    from aifa_hpc.views.feed import News

_STYLES = {
    "wait": "cyan", "run": "bold blue", "ok": "green", "late": "yellow", "bad": "bold red", "gone": "dim", "": "",
}  # fmt: skip
_REST_SECONDS = 0.4
"""How long a job is selected before its log is asked for, so that running over the list asks for none."""

_TAIL_LINES = 100
_MOST_SITES = 4

_CSS = """
Screen { layout: vertical; }
#head { height: 1; text-style: bold; }
#sites, #transfers { height: auto; }
#jobs { height: 1fr; min-height: 4; scrollbar-size-vertical: 1; }
#detail { height: auto; max-height: 2; text-style: bold; margin-top: 1; }
#tail { height: 1fr; }
#log { height: 1fr; }
Sure { align: center middle; }
#sure { width: 50; height: auto; border: round ansi_red; padding: 0 1; }
#keys { margin-top: 1; text-style: bold; }
DataTable > .datatable--header { background: ansi_default; color: ansi_default; text-style: dim; }
DataTable > .datatable--cursor { text-style: reverse; }
"""


class Source(Protocol):
    """What the view is fed by, see :class:`aifa_hpc.views.feed.Feed`."""

    def start(self) -> None:
        """Begins."""

    def stop(self) -> None:
        """Ends."""

    def look(self, look: Look | None) -> None:
        """Reads this log from now on."""

    def cancel(self, row: Row) -> None:
        """Cancels a job."""


class Arrived(Message):
    """Something new, from a thread of the feed."""

    def __init__(self, news: News) -> None:
        super().__init__()
        self.news = news


class Watch(App[None]):
    """The view.

    Args:
        feed: Makes what it is fed by, given a function that takes what is new.
        clock: Gives the time, aware.
    """

    CSS = _CSS
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("a", "scope", "Active/all"),
        Binding("l", "log", "Log"),
        Binding("c", "cancel", "Cancel"),
        Binding("j", "move(1)", "Down", show=False),
        Binding("k", "move(-1)", "Up", show=False),
    ]

    def __init__(
        self,
        feed: Callable[[Callable[[News], None]], Source],
        *,
        clock: Callable[[], datetime.datetime] = utc_now,
    ) -> None:
        super().__init__()
        self._source = feed(self._arrived)
        self._clock = clock
        self._since = clock()
        self._jobs_known: tuple[Watched, ...] | None = None
        self._jobs_listed: list[Watched] = []
        self._fields: list[Column] = []
        self._shown_cells: dict[str, list[Cell]] = {}
        self._sites: dict[str, SiteState] = {}
        self._transfers: tuple[Remembered, ...] = ()
        self._scope: Shown = "active"
        self._selected = ""
        self._rested = 0.0
        self._looking: Look | None = None
        self._tail_text = ""
        self._tail_told = ""

    def _arrived(self, news: News) -> None:
        self.post_message(Arrived(news))

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        yield Static(id="sites", markup=False)
        yield DataTable(id="jobs", cursor_type="row", cell_padding=0)
        yield Static(id="transfers", markup=False)
        yield Static(id="detail", markup=False)
        yield Static(id="tail", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Uses the terminal's own colours, and begins."""
        self.theme = "ansi-dark"
        self.query_one(DataTable).focus()
        self.set_interval(1.0, self._draw)
        self.set_interval(_REST_SECONDS / 2, self._follow)
        self._source.start()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the list do nothing while something lies over it."""
        del parameters
        return len(self.screen_stack) <= 1 or action not in {"scope", "log", "cancel", "move"}

    async def action_quit(self) -> None:
        """Leaves; jobs go on."""
        self._source.stop()
        self.exit()

    def on_resize(self, event: Resize) -> None:
        """Lays the columns out anew."""
        del event
        self._draw()

    def action_scope(self) -> None:
        """Shows all jobs, or those that are on."""
        self._scope = "all" if self._scope == "active" else "active"
        self._draw()

    def action_move(self, step: int) -> None:
        """Selects the next job, or the one before."""
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + step)

    def action_log(self) -> None:
        """Opens the whole log of the selected job."""
        if (one := self._job()) is None:
            return
        self._looking = Look(token=one.row.token, site=one.row.site, tail=0)
        self._source.look(self._looking)
        screen = LogScreen(fit(f"{one.row.name} {one.row.job_id or one.row.token} on {one.row.site}", 200))
        self.push_screen(screen, lambda _: self._leave_log())

    def action_cancel(self) -> None:
        """Cancels the selected job, once a person has confirmed it."""
        one = self._job()
        if one is None:
            return
        if one.row.status.over or one.row.job_id is None:
            why = "is over already" if one.row.status.over else "has no id yet"
            self._notice(Notice(text=f"job {one.row.job_id or one.row.token} {why}"))
            return
        row = one.row
        self.push_screen(Sure(row), lambda sure: self._source.cancel(row) if sure else None)

    @on(DataTable.RowHighlighted)
    def _highlighted(self, event: DataTable.RowHighlighted) -> None:
        key: RowKey | None = event.row_key  # none when the table has just been emptied, whatever its annotation says
        if key is not None and key.value != self._selected and key.value in self._shown_cells:
            self._selected = key.value
            self._rested = time.monotonic()
            self._draw_detail()

    @on(DataTable.RowSelected)
    def _chosen(self) -> None:
        self.action_log()

    def on_arrived(self, event: Arrived) -> None:
        """Something is new."""
        match event.news:
            case Jobs(jobs=jobs, transfers=transfers):
                first = self._jobs_known is None
                self._jobs_known, self._transfers = jobs, transfers
                if first:
                    self._draw()
            case SiteState() as state:
                self._sites[state.name] = state
                self._draw_head()
            case LogText() as text:
                self._read(text)
            case Notice() as notice:
                self._notice(notice)

    def _read(self, news: LogText) -> None:
        if news.look != self._looking:
            return  # of a log that nobody looks at any more
        if isinstance(self.screen, LogScreen):
            if news.text:
                self.screen.add(news.text)
            self.screen.told(news.told)
            return
        self._tail_text = "\n".join((self._tail_text + news.text).split("\n")[-_TAIL_LINES:])
        self._tail_told = news.told
        self._draw_detail()

    def _follow(self) -> None:
        """Asks for the log of a job that has been selected for a moment."""
        one = self._job()
        if one is None or not self._bare or time.monotonic() - self._rested < _REST_SECONDS:
            return
        look = Look(token=one.row.token, site=one.row.site, tail=_TAIL_LINES)
        if look != self._looking:
            away = (state := self._sites.get(look.site)) is not None and state.trouble
            told = "the site is away, and with it the log" if away else "asking for its log"
            self._looking, self._tail_text, self._tail_told = look, "", told
            self._source.look(look)
            self._draw_detail()

    def _leave_log(self) -> None:
        self._looking = None  # the tail is asked for again
        self._rested = 0.0

    @property
    def _bare(self) -> bool:
        """The list is there (not yet and no more at both ends), and nothing lies over it."""
        return len(self.screen_stack) == 1 and bool(self.screen.query("#tail"))

    def _job(self) -> Watched | None:
        return next((one for one in self._jobs_listed if one.row.token == self._selected), None)

    def _draw(self) -> None:
        if not self._bare:
            return
        self._draw_head()
        self._draw_jobs()
        self._draw_detail()

    def _draw_head(self) -> None:
        if not self._bare:
            return
        now, width = self._clock(), self.size.width
        counts = head(self._jobs_known) if self._jobs_known is not None else "reading"
        clock = f"{now.astimezone():%H:%M:%S}"
        left = fit(f"aifa watch: {counts}; {self._scope} jobs are shown", width - len(clock) - 1)
        self.query_one("#head", Static).update(f"{left:<{width - len(clock)}}{clock}")
        # The ones that are away first: they must not be cut off.
        states = sorted(self._sites.values(), key=lambda state: (not state.trouble, state.name))
        lines = [site_line(state, now) for state in states[:_MOST_SITES]]
        if len(states) > _MOST_SITES:
            lines.append(Cell(text=f"and {len(states) - _MOST_SITES} more sites"))
        self._update("#sites", lines)
        self._update("#transfers", transfer_lines(self._transfers, now.timestamp()))

    def _draw_jobs(self) -> None:
        if self._jobs_known is None:
            return
        now, table = self._clock(), self.query_one(DataTable)
        self._jobs_listed = visible(self._jobs_known, self._scope, self._since)
        layout = columns(self.size.width - 1, self._jobs_listed)
        lines = {one.row.token: cells(one, layout, now) for one in self._jobs_listed}
        if layout != self._fields or list(lines) != list(self._shown_cells):
            self._fill(table, layout, lines)
        else:
            for token, line in lines.items():
                for column, new, old in zip(layout, line, self._shown_cells[token], strict=True):
                    if new != old:
                        table.update_cell(token, column.title, _text(new))
        self._fields, self._shown_cells = layout, lines
        if not self._jobs_listed:
            self._selected = ""

    def _fill(self, table: DataTable[Text], layout: Sequence[Column], lines: dict[str, list[Cell]]) -> None:
        """Fills the table anew; who is selected stays so."""
        row, selected = table.cursor_row, self._selected
        self._shown_cells = lines
        with self.batch_update():
            table.clear(columns=True)
            for number, column in enumerate(layout):
                gap = number < len(layout) - 1
                table.add_column(column.title, width=column.width + gap, key=column.title)
            for token, line in lines.items():
                table.add_row(*map(_text, line), key=token)
            tokens = list(lines)
            if tokens:
                place = tokens.index(selected) if selected in lines else min(max(row, 0), len(tokens) - 1)
                self._selected = tokens[place]
                table.move_cursor(row=place)

    def _draw_detail(self) -> None:
        if not self._bare:
            return
        one, width = self._job(), self.size.width
        told = self._tail_told
        if one is None:
            empty = "no jobs are active; a shows all" if self._scope == "active" else "no jobs; aifa submit makes one"
            told = "" if self._jobs_known is None else empty
        self.query_one("#detail", Static).update("" if one is None else fit(detail(one, self._clock()), 2 * width - 12))
        tail = self.query_one("#tail", Static)
        mine = one is not None and self._looking is not None and self._looking.token == one.row.token
        lines = log_lines(self._tail_text)[-max(1, tail.size.height) :] if mine else []
        text = Text("\n".join(fit_left(line, width) for line in lines), no_wrap=True, overflow="crop")
        tail.update(text if lines else Text(fit(told, width) if mine or one is None else "", style="dim"))

    def _update(self, place: str, lines: Sequence[Cell]) -> None:
        widget = self.query_one(place, Static)
        widget.display = bool(lines)
        # Two lines for each at most: what is wrong, and what to do, must be readable.
        texts = [Text(fit(line.text, 2 * self.size.width - 12), style=_STYLES[line.tone]) for line in lines]
        widget.update(Text("\n").join(texts))

    def _notice(self, notice: Notice) -> None:
        self.notify(notice.text, severity="error" if notice.bad else "information", timeout=8, markup=False)


def fit_left(line: str, width: int) -> str:
    """A log's line, its indentation kept, cut where the terminal ends."""
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _text(cell: Cell) -> Text:
    return Text(cell.text, style=_STYLES[cell.tone], no_wrap=True)
