"""Runs SQL over a run's table: DuckDB on the shards, with access to nothing else.

A query is one SELECT over `latents` and `failures`. Before it runs, DuckDB's own parser takes it apart, and everything
that is not known to be harmless is refused: other statements, other tables, functions that read files, settings
or memory. Behind that the connection is closed against files, the network, extensions and this process's variables,
and its settings are locked.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa

from i2s_batch.config import Json
from i2s_batch.errors import QueryError
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.sources.column_types import plain_type
from i2s_batch.storage.files import temporary_folder
from i2s_batch.table.dataset import TableFiles, check_whole

MEMORY_LIMIT = "4GB"  # of DuckDB, beyond which it uses a temporary folder; 1 GB cannot compare latents of 18 x 512
BATCH_ROWS = 1024  # 38 MB of latents of 18 x 512

_STATEMENT_KINDS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_TABLES = {"latents", "failures"}
_TABLE_FUNCTIONS = {"range", "generate_series", "unnest"}
# Functions of single values are harmless except these: they reveal settings of this process, write its log, or wait.
_FUNCTIONS_REFUSED = {"current_setting", "getenv", "getvariable", "nextval", "pg_sleep", "sleep_ms", "write_log"}
_WHILE_READING = "registered as 'latents'"  # in DuckDB's message when pyarrow could not read the table
# The beginning of DuckDB's message when its memory, or the disk behind it, is used up. The rest of the message advises
# settings that are locked here.
_OUT_OF_MEMORY = "Out of Memory Error"
_ONLY = "a query is one SELECT over the tables latents and failures, and only reads them"

# PSNR is in dB; an infinite one is in the best class. The names sort as the classes do.
# A macro's parameter must not have the name of a column, which may be any name in a user's list.
_MACROS = f"""
CREATE VIEW failures AS SELECT * EXCLUDE (latent) FROM latents WHERE status <> '{STATUS_OK}';
CREATE MACRO layer(latent, k) AS CASE
    WHEN k BETWEEN 0 AND $layers - 1
    THEN list_slice(latent::FLOAT[], CAST(k * $w_dim + 1 AS BIGINT), CAST((k + 1) * $w_dim AS BIGINT))
    WHEN k IS NOT NULL THEN error('layer ' || k || ' is asked for; the layers are 0 to ' || ($layers - 1)) END;
CREATE MACRO latent_of(i2s_asked_id) AS (SELECT latent FROM latents WHERE image_id = i2s_asked_id);
CREATE MACRO euclidean(a, b) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL
    THEN list_distance(a::FLOAT[], b::FLOAT[]) END;
CREATE MACRO cosine(a, b) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL
    THEN list_cosine_distance(a::FLOAT[], b::FLOAT[]) END;
CREATE MACRO psnr_class(psnr) AS CASE
    WHEN psnr < 20 THEN '00-20 dB' WHEN psnr < 25 THEN '20-25 dB' WHEN psnr < 30 THEN '25-30 dB'
    WHEN psnr < 35 THEN '30-35 dB' WHEN psnr < 40 THEN '35-40 dB' WHEN psnr >= 40 THEN '40+ dB' END;
"""


@dataclass(frozen=True)
class QueryResult:
    """Holds the result of a query: its columns, and its rows as they come, never all of them in memory."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@contextmanager
def run_query(table: TableFiles, query: str) -> Iterator[QueryResult]:
    """Run `query` over `table`.

    Raises:
        QueryError: The query is not SQL, fails, or would do more than read.
        StorageError: A shard proves to be damaged.
    """
    with temporary_folder("i2s-query-") as spill, _connected(table, str(spill)) as connection:
        statement = _checked(connection, query)
        with _errors(table):
            reader = connection.sql(statement).to_arrow_reader(BATCH_ROWS)
        names = _unique(reader.schema.names)
        schema = pa.schema([field.with_name(name) for field, name in zip(reader.schema, names, strict=True)])
        yield QueryResult(schema, (batch.rename_columns(names) for batch in _batches(reader, table)))


def _unique(names: list[str]) -> list[str]:
    """Return the names of a query's columns, with repeated names numbered: those of a file must differ."""
    found: list[str] = []
    for name in names:
        number, new = 1, name
        while new in found:
            number, new = number + 1, f"{name}_{number}"
        found.append(new)
    return found


def _batches(reader: pa.RecordBatchReader, table: TableFiles) -> Iterator[pa.RecordBatch]:
    while True:
        with _errors(table):
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
        yield batch


@contextmanager
def _errors(table: TableFiles) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if _WHILE_READING in str(error):
            check_whole(table)  # DuckDB does not name the file in which it found a fault
        if _OUT_OF_MEMORY in str(error):
            raise QueryError(_out_of_memory()) from error
        raise _failure("the query fails", error) from error


def _out_of_memory() -> str:
    """Return a message with what ran out, the limit, and what helps."""
    return (
        f"the query needs more memory than its {MEMORY_LIMIT} (the rest goes to {tempfile.gettempdir()}); take "
        "fewer columns (a latent is the largest by far) or fewer rows (WHERE), use i2s-batch neighbours for distances "
        "to one image, and i2s-batch export to write many latents"
    )


def closed_settings() -> dict[str, str | bool | int | float | list[str]]:
    """Return the settings of a connection that loads nothing and sees no variables of Python."""
    return {
        "memory_limit": MEMORY_LIMIT,
        "python_enable_replacements": "false",
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "allow_community_extensions": "false",
    }


@contextmanager
def _connected(table: TableFiles, spill: str) -> Iterator[Any]:
    """Open a DuckDB in memory that holds the table and its macros, and can access nothing but the folder `spill`."""
    with duckdb.connect(":memory:", config=closed_settings() | {"temp_directory": spill}) as connection:
        _register(connection, table)
        layers, w_dim = table.latent_shape
        connection.execute(_MACROS.replace("$layers", str(layers)).replace("$w_dim", str(w_dim)))
        _without_progress_bar(connection)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection


def _without_progress_bar(connection: Any) -> None:
    """Turn DuckDB's own progress bar off. A notebook without ipywidgets has none, and refuses the setting."""
    try:
        connection.execute("SET enable_progress_bar = false")
    except duckdb.InvalidInputException as error:
        if "ipywidgets" not in str(error):
            raise


def _register(connection: Any, table: TableFiles) -> None:
    """Register the table; columns of types that DuckDB has not, from lists of earlier versions, in the nearest ones."""
    try:
        connection.register("latents", table.dataset)
    except duckdb.NotImplementedException:
        fields = [field.with_type(plain_type(field.type)) for field in table.schema]
        plain = pa.schema(fields, table.schema.metadata)
        shards = [replace(shard, schema=plain) for shard in table.shards]
        connection.register("latents", replace(table, shards=shards, schema=plain).dataset)


def check_condition(where: str) -> None:
    """Check that `where` is one condition by itself, so that it stays one between the parentheses of a query.

    Raises:
        QueryError: It is not: empty, or with a parenthesis, a clause or a statement of its own.
    """
    try:
        statements = duckdb.extract_statements(f"SELECT image_id FROM latents WHERE\n{where}\n")
    except duckdb.Error as error:
        raise QueryError(f'{where!r} is not a condition in SQL, such as "psnr > 22": {_one_line(error)}') from error
    if len(statements) != 1:
        raise QueryError(f'{where!r} holds {len(statements)} statements; give one condition, such as "psnr > 22"')


def _checked(connection: Any, query: str) -> Any:
    """Return the one statement of `query`, if it only reads the table."""
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise _failure("the query is not SQL", error) from error
    if len(statements) != 1:
        raise QueryError(f"the query has {len(statements)} statements; {_ONLY}")
    node_type = _statement_type(statements[0])
    if node_type != "SELECT":
        raise QueryError(f"the query is a {node_type} statement; {_ONLY}")
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise QueryError(f"the query cannot be checked ({' '.join(tree['error_message'].split())}); {_ONLY}")
    parts = list(_parts(tree))
    named = {str(name).lower() for part in parts for name in _common_tables(part)} - _TABLES
    # A name defined by WITH is valid only in a part of the query; elsewhere it would reach a table of DuckDB's own.
    if shadowed := named & _own_tables(connection):
        raise QueryError(
            f"the query gives a part of itself the name {min(shadowed)!r} of a table of DuckDB's own; rename it"
        )
    tables = _TABLES | named
    for part in parts:
        check_part(part, tables)
    return statements[0]


def check_reads(connection: Any, query: str, tables: set[str], what: str) -> None:
    """Raise QueryError unless `query` is one SELECT, without another in it, of `tables`; `what` says what is asked."""
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(text)
    parts = [] if tree["error"] else list(_parts(tree))
    if sum(_text(part, "type").endswith("_NODE") for part in parts) != 1:
        raise QueryError(f"the condition is not {what}: it holds a query of its own, or cannot be checked")
    for part in parts:
        check_part(part, tables)


def _statement_type(statement: Any) -> str:
    """Return the type of a statement: SELECT, COPY, ..."""
    try:
        return str(statement.type.name)
    except ValueError:  # some of DuckDB's statement types have no name in Python
        return "special"


def _parts(tree: Json) -> Iterator[dict[str, Json]]:
    """Yield every node of a syntax tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _common_tables(part: dict[str, Json]) -> list[str]:
    """Return the names that a WITH gives to its queries."""
    match part.get("cte_map"):
        case {"map": list() as entries}:
            return [_text(entry, "key") for entry in entries]
    return []


def _own_tables(connection: Any) -> set[str]:
    """Return every table and view of DuckDB's own, whatever its schema."""
    query = "SELECT view_name FROM duckdb_views() UNION ALL SELECT table_name FROM duckdb_tables()"
    return {str(name).lower() for (name,) in connection.execute(query).fetchall()}


def _text(node: Json, name: str) -> str:
    """Return a text of a node, '' where it has none."""
    value = node.get(name) if isinstance(node, dict) else None
    return value if isinstance(value, str) else ""


def check_part(part: dict[str, Json], tables: set[str]) -> None:
    """Raise QueryError if a node of the syntax tree does anything but read one of `tables`.

    This is the first of two barriers; the second is the locked connection.
    """
    node_type = _text(part, "type")
    if node_type.endswith("_NODE") and node_type not in _STATEMENT_KINDS:
        raise QueryError(f"the query holds a {node_type.partition('_')[0]}; {_ONLY}")
    if node_type == "BASE_TABLE":
        is_qualified = bool(part.get("catalog_name") or part.get("schema_name"))
        names = (_text(part, name) for name in ("catalog_name", "schema_name", "table_name"))
        table_name = ".".join(filter(None, names))
        if is_qualified or table_name.lower() not in tables:
            raise QueryError(f"the query reads {table_name!r}; {_ONLY}")
    called = _text(part.get("function"), "function_name") if node_type == "TABLE_FUNCTION" else ""
    if node_type == "TABLE_FUNCTION" and called.lower() not in _TABLE_FUNCTIONS:
        raise QueryError(f"the query calls {called!r}; {_ONLY}")
    called = _text(part, "function_name") if node_type == "FUNCTION" else ""
    if node_type == "FUNCTION" and (not called or called.lower() in _FUNCTIONS_REFUSED):
        raise QueryError(f"the query calls {called!r}; {_ONLY}")


def _failure(what: str, error: Exception) -> QueryError:
    """Return an error of DuckDB with its drawing of the position: the line of the query, and a caret under it."""
    drawing = str(error).partition("\n\nLINE ")[2]
    lines = f"LINE {drawing}".split("\n")[:2] if drawing else []
    return QueryError(f"{what}: {_one_line(error)}", tuple(lines))


def _one_line(error: Exception) -> str:
    """Return DuckDB's message without its drawing of the position, and without the type of error in front."""
    text = str(error).partition("\n\nLINE ")[0]
    return " ".join(text.split()).partition(" Error: ")[2] or " ".join(text.split())
