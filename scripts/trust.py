"""Whose signatures count: the files of certificates that commands read."""

import os
from pathlib import Path

SETTINGS = ("C2PA_TRUST_FILE", "C2PA_CERTIFICATE_FILE")


def trust_files(given: Path | None) -> list[Path]:
    """Files of PEM: the one of --trust, or those with which the service verifies and signs marks."""
    return [given] if given else [Path(path) for path in map(os.environ.get, SETTINGS) if path]
