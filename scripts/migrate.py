"""`python -m scripts migrate`: push supabase/migrations to DATABASE_URL."""

import os
import sys

import typer

from scripts.migrations import MigrationError, push_migrations


def migrate() -> None:
    """Push pending migrations with the Supabase CLI.

    Needs: DATABASE_URL with the login of the role postgres, and the Supabase CLI (npm install supabase).

    Exit codes: 0 pushed, or nothing was pending; 1 a migration failed, and its transaction is rolled back;
    2 DATABASE_URL is not set.

    Example: DATABASE_URL=postgresql://postgres:…@host:5432/postgres likeness migrate
    """
    dsn = os.environ.get("DATABASE_URL")
    if not dsn:
        raise typer.BadParameter("DATABASE_URL is not set: postgresql://postgres:…@host:5432/postgres")
    try:
        sys.stdout.write(push_migrations(dsn))
    except MigrationError as error:
        sys.exit(str(error))
