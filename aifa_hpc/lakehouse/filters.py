"""Row filters, as pyiceberg reads them, held against a table's columns before anything is read.

pyiceberg takes ``n = 3.5`` of a whole number for ``n = 4``, and refuses some columns only when it meets them in a file.
"""

from __future__ import annotations

import difflib
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType

_SHOWN = 20


def read_filter(where: str) -> BooleanExpression:
    """A row filter, as pyiceberg reads it; an empty one takes all rows.

    Raises:
        InputError: It is none.
    """
    from pyiceberg.expressions import AlwaysTrue  # noqa: PLC0415 - heavy, and only here
    from pyiceberg.expressions.parser import parse  # noqa: PLC0415 - heavy, and only here
    from pyparsing import ParseException  # noqa: PLC0415 - comes with pyiceberg

    try:
        return parse(where) if where else AlwaysTrue()
    except RecursionError as error:
        raise InputError("the filter is nested too deeply to be read.") from error
    except ParseException as error:
        raise InputError(
            f"the filter {where!r} cannot be read from character {error.loc + 1} on.",
            hint="Write it like: label = 3 and day >= '2026-01-01' or name in ('a', 'b') or score is not null.",
        ) from error


def columns_of(where: str) -> list[str]:
    """Names of the columns that a filter asks; errors as :func:`read_filter`."""
    return list(dict.fromkeys(predicate.term.name for predicate in _predicates(read_filter(where))))


def require_filter(table: str, where: str, schema: Schema, *, rows: bool) -> BooleanExpression:
    """A row filter that a table can be asked.

    Args:
        table: What it is called in an error.
        where: The filter.
        schema: The table's columns.
        rows: Rows are chosen by it, and not only files.

    Returns:
        The filter, not bound to the schema.

    Raises:
        InputError: It is none, or it names a column that is not there or cannot be compared like this.
    """
    read = read_filter(where)
    for predicate in _predicates(read):
        name = predicate.term.name
        known = [schema.find_column_name(number) or "" for number in schema.field_ids]
        require_columns(f"the filter {where!r}: {table}", [name], known)
        _require_sense(f"{table}: the filter {where!r} cannot be used", predicate, schema, rows=rows)
    return read


def require_columns(table: str, columns: Sequence[str], known: Sequence[str]) -> None:
    """Refuses a column that is not in a table.

    Raises:
        InputError: It names the column, and the one that may be meant.
    """
    for column in columns:
        if column not in known:
            alike = [one for one in known if one.casefold() == column.casefold()]
            near = alike or difflib.get_close_matches(column, known, 1)
            more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
            raise InputError(
                f"{table} has no column {column!r}.",
                hint=f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known[:_SHOWN])}{more}.",
            )


def _require_sense(doing: str, predicate: Any, schema: Schema, *, rows: bool) -> None:
    """Refuses a comparison that pyiceberg cannot make, or makes with another value than the one that is written."""
    from pyiceberg.expressions.visitors import bind  # noqa: PLC0415 - heavy, and only here
    from pyiceberg.types import IntegerType, ListType, LongType, MapType, UUIDType  # noqa: PLC0415

    name = predicate.term.name
    kind = schema.find_field(name).field_type
    if rows and isinstance(kind, (ListType, MapType, UUIDType)):
        raise InputError(
            f"{doing}: rows cannot be chosen by {name!r}, which is {kind}.", hint="Use --mode files, or other columns."
        )
    if isinstance(kind, (IntegerType, LongType)):
        for value in _values(predicate):
            if not _is_whole(value):
                raise InputError(
                    f"{doing}: {name!r} is {kind}, and {value} is no whole number.",
                    hint=f"Write {int(Decimal(value))}.",
                )
    try:
        bind(schema, predicate, case_sensitive=True)
    except (ValueError, TypeError) as error:
        raise InputError(f"{doing}: {name!r} is {kind}: {error}.", hint=_hint(kind)) from error


def _predicates(expression: Any) -> Iterator[Any]:
    from pyiceberg.expressions import UnboundPredicate  # noqa: PLC0415 - heavy, and only here

    waiting = [expression]
    while waiting:
        one = waiting.pop()
        if isinstance(one, UnboundPredicate):
            yield one
        else:
            waiting += [getattr(one, side) for side in ("left", "right", "child") if hasattr(one, side)]


def _values(predicate: Any) -> list[Any]:
    found = [predicate.literal] if hasattr(predicate, "literal") else list(getattr(predicate, "literals", ()))
    return [literal.value for literal in found]


def _is_whole(value: Any) -> bool:
    """Whether a number is one without a fraction; a text that is no number is refused elsewhere."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return True
    return not number.is_finite() or number == number.to_integral_value()


def _hint(kind: IcebergType) -> str:
    from pyiceberg.types import DateType, DecimalType, TimestampType, TimestamptzType, TimeType  # noqa: PLC0415

    if isinstance(kind, DecimalType):
        return f"Write it with {kind.scale} digits behind the point."
    examples: dict[Any, str] = {
        TimestampType: "'2026-01-31T12:00:00', without a zone",
        TimestamptzType: "'2026-01-31T12:00:00+00:00', with its zone in hours",
        DateType: "'2026-01-31'",
        TimeType: "'12:00:00'",
    }
    return f"Write it like {examples[type(kind)]}." if type(kind) in examples else ""
