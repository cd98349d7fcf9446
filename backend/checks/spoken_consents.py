"""Spoken consents: can the service examine what the project asks for?"""

from collections.abc import Iterator

import psycopg

from backend.audio.spoken import missing_modules
from backend.audio.spoken_frames import LOCALES
from backend.checks.database import connect
from backend.checks.findings import Finding, good
from backend.settings.database import DatabaseSettings

PART = "spoken consent"


def check_spoken_consents(settings: DatabaseSettings) -> Iterator[Finding]:
    """Nothing where the project does not ask for them, or the database cannot be asked."""
    try:
        with connect(settings.url) as connection:
            row = connection.execute("select voice_clone.is_spoken_consent_required()").fetchone()
    except psycopg.Error:
        return
    if not row or not row[0]:
        return
    if missing := missing_modules():
        yield Finding(
            part=PART,
            found=f"the project asks for it, and this installation has no {', '.join(missing)}",
            remedy="Install the extras: `pip install 'likeness[speakers,words]'`; or ask for it no more:"
            " `likeness consents not-spoken`",
            prevents_start=True,
        )
        return
    yield good(PART, f"required; only statements in {', '.join(sorted(LOCALES))} can be spoken")
