"""The part of an uninstall in the database: one transaction."""

from typing import Any

from psycopg.sql import SQL, Identifier

from scripts.uninstall.names import names
from scripts.uninstall.plan import Connection, Plan, has, make_plan, one, queries, queues, rows


class ChangedError(Exception):
    """Since the plan was shown, something came that stands in the way."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("; ".join(each.found for each in plan.obstacles))


def remove(connection: Connection, *, columns: bool, objects: bool) -> None:
    """All of it or nothing. A second run finds nothing of the first."""
    given = names()
    with connection.transaction():
        rows(connection, queries.patience)
        if one(connection, queries.installed)["is_installed"]:
            remove_schemas(connection, given, columns=columns, objects=objects)
        if has(connection, "cron.job"):
            rows(connection, queries.drop_jobs)
        if has(connection, "vault.secrets"):
            connection.execute(queries.drop_secrets)
        if has(connection, "supabase_migrations.schema_migrations"):
            connection.execute(
                queries.forget_history, {"versions": given["versions"], "names": given["names"]}
            )
        connection.execute(queries.drop_roles)


def remove_schemas(connection: Connection, given: dict[str, Any], *, columns: bool, objects: bool) -> None:
    tables = [row["name"] for row in rows(connection, queries.tables, tables=given["tables"])]
    adopted = [row["name"] for row in rows(connection, queries.adopted_tables)]
    if locked := sorted(tables + adopted):  # so that nobody makes a view of one while it goes
        connection.execute(SQL("lock table {} in access exclusive mode").format(identifiers(locked)))
    plan = make_plan(connection, columns=columns, objects=objects)
    if plan.obstacles:
        raise ChangedError(plan)
    connection.execute(queries.drop_triggers)
    if has(connection, "public.voice_clone_attempts"):
        if "reflections" in adopted:
            connection.execute(queries.clear_reflections, {"keys": given["keys"]})
        if "employees" in adopted:
            connection.execute(queries.clear_employees, {"keys": given["keys"]})
    connection.execute(queries.undo_adoptions)
    if columns:
        connection.execute(queries.drop_columns)
    for row in queues(connection):
        rows(connection, queries.drop_queue, name=row["name"])
    if tables:
        connection.execute(SQL("drop table {} cascade").format(identifiers(tables)))
    rows(connection, queries.name_functions, names=",".join(given["functions"]))
    connection.execute(queries.drop_functions)
    connection.execute(queries.drop_schema)


def identifiers(tables: list[str]) -> Any:
    return SQL(", ").join(Identifier("public", table) for table in tables)
