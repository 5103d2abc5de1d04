"""Tables: the code tables of every channel with their rows and uses, what is missing in them, and rows for that."""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import LINE, ChannelPath, Sentence
from engine.adapters.api.on_tables import add_row_to, note_misses
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.console.code_tables import TableFile, TableOf, rows_page, table_of, tables_of, uses_of_table
from engine.adapters.console.codes_shown import codes_of_table
from engine.adapters.console.held_groups import Held, held
from engine.adapters.console.lookups import Cell, Kept, TableName, channels_seen, loaded, loaded_seen
from engine.adapters.console.rendering import desk_of, page, see_other
from engine.config.site import LoadedChannel
from engine.pipeline.misses import file_of

PAGE: Final = 200

SearchText = Annotated[str, StringConstraints(max_length=200, pattern=LINE)]


class TableQuery(ApiModel):
    """`after`: the line to go on behind. `search`: the id of a search, which may quote a code of a message."""

    table: TableName
    after: Annotated[int, Field(ge=0, le=10**9)] = 0
    search: Kept = ""


class SearchForm(ApiModel):
    table: TableName
    text: SearchText = ""


class TableForm(ApiModel):
    table: TableName


class NewRowForm(ApiModel):
    """`others`: the cells of further columns, in their order."""

    table: TableName
    key: Cell
    value: Annotated[str, StringConstraints(max_length=1000, pattern=LINE)]
    others: list[Annotated[str, StringConstraints(max_length=1000, pattern=LINE)]] = Field(default=[], max_length=48)
    reason: Sentence = ""


async def tables(call: Call) -> Response:
    """By channel; with how many messages wait for rows of each."""
    channels = loaded_seen(call)

    def read() -> tuple[list[TableOf], Held]:
        found = [table for channel in channels for table in tables_of(call.api.folder, channel)]
        return found, held(call.api.queries, channels_seen(call))

    found, waiting = await call.search(read)
    misses: dict[tuple[str, str], int] = {}
    for group in waiting.groups:
        if group.cause.table:
            place = (group.cause.channel, file_of(group.cause.table))
            misses[place] = misses.get(place, 0) + group.size
    return page(call, "tables.html", title="Tables", help="console#the-page-of-tables", tables=found, misses=misses)


def _file(call: Call, name: str) -> tuple[LoadedChannel, TableFile]:
    channel = loaded(call, call.the_path(ChannelPath).channel)
    found = table_of(call.api.folder, channel, name)
    if found is None:
        raise not_there()
    return channel, found


async def table(call: Call) -> Response:
    asked = call.the_query(TableQuery)
    return await _show(call, asked.table, asked.after, asked.search)


async def _show(call: Call, name: str, after: int = 0, search: str = "", **revealed: Any) -> Response:
    """`revealed`: the codes that are missing, where they were asked for and that is on record."""
    text = desk_of(call).kept(search) if search else ""

    def read() -> dict[str, Any]:
        channel, file = _file(call, name)
        waiting = held(call.api.queries, (str(channel.name),))
        return {
            "table": file.table,
            "found": rows_page(file, after, PAGE, text if isinstance(text, str) else ""),
            "uses": uses_of_table(channel, name),
            "groups": [group for group in waiting.groups if file_of(group.cause.table) == name],
        }

    context = await call.search(read)
    channel = str(context["table"].channel)
    who = call.who
    return page(
        call,
        "table.html",
        title=f"{channel}/{name}",
        help="console#the-page-of-tables",
        path=f"/tables/{channel}",
        channel=channel,
        after=after,
        size=PAGE,
        search=search if isinstance(text, str) and text else "",
        text=text if isinstance(text, str) else "",
        may_read=who.may("read", channel),
        may_operate=who.may("operate", channel),
        may_engineer=who.may("engineer", channel),
        **({"codes": None} | context | revealed),
    )


async def search(call: Call) -> Response:
    """Kept for the session: it may be a code of a message, and so stands in no address."""
    form, channel = call.the_body(SearchForm), call.the_path(ChannelPath).channel
    id_ = desk_of(call).keep(form.text) if form.text.strip() else ""
    return see_other(call, f"/tables/{channel}?table={form.table}{f'&search={id_}' if id_ else ''}")


async def codes(call: Call) -> Response:
    """The page with the codes that are missing: values of messages, and so on record before they are given."""
    form, channel = call.the_body(TableForm), call.the_path(ChannelPath).channel
    loaded(call, channel)
    looked = await call.search(codes_of_table, call.api.queries, channel, form.table)
    await note_misses(call, looked.seqs)
    return await _show(call, form.table, codes=looked)


async def row(call: Call) -> Response:
    """Write it into the site's file, as the API does, and show what follows."""
    form, channel = call.the_body(NewRowForm), call.the_path(ChannelPath).channel
    back = f"/tables/{channel}?table={form.table}"
    cells = [form.key, form.value, *form.others]
    while len(cells) > 2 and not cells[-1]:
        cells.pop()
    try:
        added = await add_row_to(call, channel, form.table, cells, form.reason)
    except Problem as problem:
        if problem.status != 409:
            raise
        text = problem.detail
        return see_other(call, back, f"{text[:1].upper()}{text[1:]}. The file is as it was.", "bad")
    said = f"The row is in {added.file}, line {added.line}. The engine runs without it until a reload."
    return see_other(call, f"/take-up/{channel}", said)


AT: Final = "/tables/{channel}"
PAGES: Final = (
    Page("GET", "/tables", "see", "channel", "The code tables of all channels", tables, "tables", nav="Tables"),
    Page("GET", AT, "see", "channel", "One table", table, "tables", path_model=ChannelPath, query=TableQuery),
    Page(
        "POST",
        AT + "/search",
        "see",
        "channel",
        "Search its rows",
        search,
        "tables",
        path_model=ChannelPath,
        body=SearchForm,
    ),
    Page(
        "POST",
        AT + "/codes",
        "read",
        "channel",
        "The codes that are missing in it",
        codes,
        "tables",
        path_model=ChannelPath,
        body=TableForm,
        record="read",
    ),
    Page(
        "POST",
        AT + "/row",
        "engineer",
        "channel",
        "Add a row",
        row,
        "tables",
        path_model=ChannelPath,
        body=NewRowForm,
        record="table-row",
    ),
)
