"""What a newcomer meets: the demo with a key, the ports and lines of `make dev`, mistakes told early."""

import json
import os
import socket
import struct
import subprocess
import sys
import wave
from pathlib import Path

import msgspec
import pytest
from rich.text import Text

from scripts.local.demo import check_sample
from scripts.local.log_lines import LogReader, in_words
from scripts.local.main_job import DemoError
from scripts.local.real_provider import described, real_settings
from scripts.local.supabase.ports import Ports, free_port
from scripts.local.supabase.postgres import DEFAULT_VERSION
from scripts.local.supabase.stack import StackError
from scripts.migrations import ROOT
from tests.clusters import copied_cluster
from tests.preloaded import command
from tests.simulators import QWEN_KEY, simulator

SIMULATED = {"QWEN_API_KEY": "sk-sim", "QWEN_REGION": "singapore", "QWEN_BASE_URL": "http://127.0.0.1:1"}


def recording(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(struct.pack("<h", 0) * int(8000 * seconds))
    return path


def test_with_a_key_the_provider_is_the_real_one_and_keeps_no_voice(
    template_directory: Path, tmp_path: Path
) -> None:
    copied_cluster(template_directory, tmp_path / f"postgres-{DEFAULT_VERSION}")
    with simulator() as elsewhere:
        key = {"QWEN_API_KEY": QWEN_KEY, "QWEN_REGION": "singapore"}
        env = os.environ | key | {
            "QWEN_BASE_URL": f"{elsewhere.url}/qwen/singapore", "LOCAL_DIR": str(tmp_path), "COLUMNS": "200",
        }  # fmt: skip
        done = command("demo", "--provider", "qwen", env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "provider: qwen, the real one: its calls are on your account" in done.stdout
        assert "voice removed at the provider" in done.stdout
        elsewhere.wait("qwen", "create", phase="committed")
        assert elsewhere.voices("qwen") == [], "no voice of the demo keeps a slot"
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["provider"], result["launchable"]) == ("qwen", True)
    assert not (tmp_path / "stack.json").exists(), "it goes when the stack stops"


def test_without_its_key_a_provider_is_simulated() -> None:
    assert real_settings("qwen", {"QWEN_REGION": "beijing"}, SIMULATED) == {}
    assert "simulated; set QWEN_API_KEY" in described("qwen", is_real=False)
    assert real_settings("local", {"QWEN_API_KEY": "sk-1"}, SIMULATED) == {}


def test_nothing_of_the_simulator_stays_beside_a_real_key() -> None:
    found = real_settings("qwen", {"QWEN_API_KEY": "sk-1", "QWEN_REGION": "beijing"}, SIMULATED)
    assert found == {"QWEN_API_KEY": "sk-1", "QWEN_REGION": "beijing", "QWEN_BASE_URL": ""}


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"QWEN_API_KEY": "abc"}, "keys start with sk-"),
        ({"QWEN_API_KEY": "sk-1"}, "QWEN_REGION is missing"),
    ],
)
def test_a_key_that_cannot_work_is_told_at_once(environ: dict[str, str], told: str) -> None:
    with pytest.raises(StackError, match=told):
        real_settings("qwen", environ, SIMULATED)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder / "none.wav", "cannot be read: No such file"),
        (lambda folder: folder, "cannot be read: Is a directory"),
        (lambda folder: recording(folder / "short.wav", 1), "lasts 1.0 s; 3 to 60 s are needed"),
        (lambda folder: recording(folder / "long.wav", 61), "lasts 61.0 s"),
    ],
    ids=["no file", "a folder", "too short", "too long"],
)
def test_a_sample_is_checked_before_anything_starts(tmp_path: Path, make, told: str) -> None:
    sample = make(tmp_path)
    with pytest.raises(DemoError, match=told):
        check_sample(sample)
    done = command("demo", "--sample", str(sample), env=os.environ | {"LOCAL_DIR": str(tmp_path / "local")})
    assert (done.returncode, "lasts" in done.stderr or "read" in done.stderr) == (1, True)
    assert not (tmp_path / "local").exists()


def test_a_sample_that_is_no_wav_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sample.wav").write_bytes(b"ID3 not a wav file at all")
    with pytest.raises(DemoError, match="is no WAV file"):
        check_sample(tmp_path / "sample.wav")
    check_sample(recording(tmp_path / "good.wav", 3))


def test_a_port_that_is_none_is_told_before_anything_starts(tmp_path: Path) -> None:
    done = command("demo", env=os.environ | {"PORT": "http", "LOCAL_DIR": str(tmp_path / "local")})
    assert (done.returncode, done.stderr.strip()) == (1, "PORT is 'http', and not a port")
    assert not (tmp_path / "local").exists()


def test_ports_are_kept_from_start_to_start(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = Ports(memory)
    taken = first.take(0, "the service")
    first.close()
    again = Ports(memory)
    assert (again.take(free_port(), "the service"), again.moved) == (taken, [])
    again.close()
    wish = free_port()
    third = Ports(memory)
    assert third.take(0, "the service", chosen=wish) == wish, "PORT goes before the memory"
    third.close()
    memory.write_text("no JSON")
    last = Ports(memory)
    assert last.take(0, "the service")
    last.close()


def test_a_port_that_was_taken_is_told_with_the_one_that_is_used(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        wanted = other.getsockname()[1]
        ports = Ports(tmp_path / "ports.json")
        port = ports.take(wanted, "the service")
        ports.close()
    assert port != wanted
    assert ports.moved == [f"Port {wanted} is taken: the service uses {port}."]


def line(**entry: object) -> str:
    return Text.from_markup(in_words(msgspec.json.encode(entry))).plain


def test_requests_and_warnings_are_shown_and_the_consumers_calls_are_not() -> None:
    request = {"event": "request", "level": "info", "timestamp": "2026-11-23T09:29:07.4Z", "method": "POST"}
    assert (
        line(**request, route="/v1/consents", status=201, ms=6.85) == "09:29:07  201  POST /v1/consents  7 ms"
    )
    assert line(**request, route=None, status=404, ms=1.0) == "09:29:07  404  POST (no route)  1 ms"
    assert line(**request, route="/internal/sweep", status=200, ms=1.0) == ""
    assert line(event="claimed", level="info") == ""
    assert line(event="storage_away", level="warning", why="[x]") == "  warning  storage_away  why=[x]"
    assert Text.from_markup(in_words(b"Traceback [1]")).plain == "Traceback [1]"


def test_a_line_is_read_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_bytes(b"before\n")
    reader = LogReader(log)
    with log.open("ab") as file:
        file.write(b"one\ntw")
        file.flush()
        assert list(reader.new_lines()) == [b"one"]
        file.write(b"o\n")
        file.flush()
        assert list(reader.new_lines()) == [b"two"]
    assert list(reader.new_lines()) == []


def test_an_installation_is_counted(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1 \\\n    --hash=sha256:0\n" * 80)
    said = ["Collecting a==1", "  Downloading a"] * 80 + ["Installing collected packages: a"]
    done = subprocess.run(
        [sys.executable, "scripts/local/count_packages.py", str(lock)],
        input="\n".join(said), capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "  package 40 of at most 80", "  package 80 of at most 80", "  unpacking them …",
    ]  # fmt: skip
