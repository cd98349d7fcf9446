"""`likeness verify FILE`: what it prints, and its exit codes."""

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from backend.provenance.manifest import Origin
from backend.provenance.marking import AudioMarker
from backend.provenance.signing import load_signing_key
from backend.settings.provenance import ProvenanceSettings
from tests.preloaded import command
from tests.simulators import spoken_sample


def verify(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return command("verify", *map(str, arguments), env=os.environ)


@pytest.fixture
async def marked(tmp_path: Path) -> Path:
    marker = AudioMarker(load_signing_key(ProvenanceSettings()))
    file = tmp_path / "speech.wav"
    try:
        origin = Origin(provider="local", model="formant")
        file.write_bytes(await marker.mark(spoken_sample(1.0), "audio/wav", origin))
    finally:
        await marker.aclose()
    (tmp_path / "root.pem").write_text(marker.key.chain)
    return file


def test_a_marked_file_is_valid_and_says_who_signed(marked: Path) -> None:
    shown = verify(marked, "--trust", marked.parent / "root.pem", "--json")
    finding = msgspec.json.decode(shown.stdout)
    assert (shown.returncode, finding["verdict"]) == (0, "valid")
    assert finding["signed_by"]["is_trusted"]
    told = verify(marked)
    assert told.returncode == 0
    assert "not trusted: anybody may have made this certificate" in told.stdout
    assert "provider: local formant" in told.stdout


def test_what_is_not_valid_ends_with_another_exit_code(marked: Path, tmp_path: Path) -> None:
    edited = bytearray(marked.read_bytes())
    edited[1000] ^= 1
    (tmp_path / "edited.wav").write_bytes(edited)
    (tmp_path / "plain.wav").write_bytes(spoken_sample(1.0))
    for name, verdict in (("edited.wav", "edited"), ("plain.wav", "unmarked"), ("root.pem", "unreadable")):
        shown = verify(tmp_path / name)
        assert (shown.returncode, shown.stdout.split(":")[0]) == (1, verdict)
    missing = verify(tmp_path / "missing.wav")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "missing.wav" in missing.stderr
