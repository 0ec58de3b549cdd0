"""Pages: how many items, and where the next one begins."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pydantic import Field

from api.cursors import CURSOR_CHARS_MAX, Position
from api.endpoint import Call, Query
from api.problems import BadMembers, ProblemMember
from driftlock.errors import InvalidArgument
from driftlock.storage.paging import PAGE_ITEMS_MAX

Row = TypeVar("Row")
Key = TypeVar("Key")


class PageQuery(Query):
    """Query of a list."""

    limit: int | None = Field(default=None, ge=1, description="Items on a page; 50 unless told, at most 200.")
    cursor: str | None = Field(
        default=None, max_length=CURSOR_CHARS_MAX, description="`next_cursor` of the page before, with the same filters."
    )

    def scope(self) -> tuple[str, ...]:
        """What a cursor is bound to besides the list: the filters, in a fixed order."""
        filters = self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)
        return tuple(f"{name}={filters[name]}" for name in sorted(filters))


class Pager:
    """Reads the limit and the cursor of a list call, and writes the cursor of its next page."""

    def __init__(self, call: Call, query: PageQuery, list_name: str) -> None:
        limits = call.deps.limits
        if query.limit is not None and query.limit > limits.page_items_max:
            detail = f"is at most {limits.page_items_max} (page_items_max)"
            raise BadMembers([ProblemMember(detail=detail, parameter="limit")])
        self.limit = query.limit or limits.page_items_default
        self._call = call
        self._cursor = query.cursor
        self._scope = (list_name, *query.scope())

    async def page(
        self,
        fetch: Callable[[int, Key | None], Awaitable[Sequence[Row]]],
        position_of: Callable[[Row], Position],
        key_of: Callable[[Position], Key],
    ) -> tuple[Sequence[Row], str | None]:
        """The rows of the page, and the cursor of the next one; None when there is none.

        `fetch(limit, after)` asks the repository, `position_of` says where a row stands, `key_of` turns that into an `after`.
        """
        after = None if self._cursor is None else key_of(self._position(self._cursor))
        one_more = self.limit < PAGE_ITEMS_MAX  # which says whether there is a next page
        rows = await fetch(self.limit + one_more, after)
        if len(rows) < self.limit + one_more:
            return rows, None
        rows = rows[: self.limit]
        last = position_of(rows[-1])
        if not one_more and not await fetch(1, key_of(last)):
            return rows, None
        return rows, self._call.cursors.encode(last, tenant_id=self._call.principal.tenant_id, scope=self._scope)

    def _position(self, cursor: str) -> Position:
        try:
            return self._call.cursors.decode(cursor, tenant_id=self._call.principal.tenant_id, scope=self._scope)
        except InvalidArgument as error:
            raise BadMembers([ProblemMember(detail=error.message, parameter="cursor")]) from None
