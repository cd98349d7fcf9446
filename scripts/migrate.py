"""`python -m scripts migrate`: push supabase/migrations to DATABASE_URL."""

import os
import sys

import typer

from scripts.migrations import MigrationError, push_migrations


def migrate() -> None:
    """Push pending migrations to DATABASE_URL, as role postgres, with the Supabase CLI."""
    dsn = os.environ.get("DATABASE_URL")
    if not dsn:
        raise typer.BadParameter("DATABASE_URL is not set: postgresql://postgres:…@host:5432/postgres")
    try:
        sys.stdout.write(push_migrations(dsn))
    except MigrationError as error:
        sys.exit(str(error))
