"""Cleaning a sample in a sandbox worker: CPU time beside that of suppressing noise alone, and peak memory."""

import asyncio
import contextlib
import os
import tempfile
import time
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.audio import denoise
from backend.audio.inspect import AudioInspector
from scripts.local.bench.figures import ROUNDS, Figure, against_floor, at_most, middle, part
from scripts.local.sample import speak_sample

RATE = 48_000
SMALL, LARGE = 1_000_000, 10_000_000  # bytes of 16-bit mono: 10 and 104 seconds
POLL_SECONDS = 0.002
TICKS = os.sysconf("SC_CLK_TCK")


async def cleaning() -> list[Figure]:
    """Of speech with noise, so that it is suppressed; the large file is longer than most providers take."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = await asyncio.to_thread(samples, folder, (SMALL, LARGE))
        runs = [await cleaned(small, folder) for _ in range(ROUNDS)]
        floor = middle([await asyncio.to_thread(denoised, small) for _ in range(ROUNDS)])
        peak = (await cleaned(large, folder))[2]
    seconds = SMALL / 2 / RATE
    return [
        at_most(
            "cleaning, CPU time",
            middle([cpu for cpu, _, _ in runs]) / seconds,
            "× real time",
            0.15,
            floor / seconds,
        ),
        part("  of which a client waits", middle([wall for _, wall, _ in runs]) / seconds, "× real time"),
        against_floor(
            "cleaning, peak memory for 10 MB", peak, "MB", middle([most for _, _, most in runs]), at_most=1.1
        ),
    ]


def samples(folder: Path, sizes: Sequence[int]) -> list[Path]:
    speak_sample(folder / "spoken.wav")
    with wave.open(str(folder / "spoken.wav")) as file:
        rate, data = file.getframerate(), file.readframes(file.getnframes())
    speech = np.frombuffer(data, "<i2").astype(float)
    times = np.arange(round(len(speech) * RATE / rate)) * rate / RATE
    speech = np.interp(times, np.arange(len(speech)), speech)
    noise = np.random.default_rng(1).standard_normal(len(speech)) * speech.std() * 0.2
    made = [folder / f"{size}.wav" for size in sizes]
    for path, size in zip(made, sizes, strict=True):
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
            file.writeframes(
                np.resize(np.clip(speech + noise, -32_768, 32_767), size // 2).astype("<i2").tobytes()
            )
    return made


async def cleaned(sample: Path, folder: Path) -> tuple[float, float, float]:
    """CPU seconds, seconds, and the job's peak of resident memory in MB, with a worker of its own."""
    inspector = AudioInspector(workers=1)
    try:
        await inspector.inspect(folder / "spoken.wav")  # starts the worker
        (worker,) = inspector.pool.process_ids
        before, began = await asyncio.to_thread(cpu_seconds, worker), time.monotonic()
        peak = asyncio.create_task(asyncio.to_thread(peak_mb, worker))
        await inspector.inspect(sample, prepared=folder / "prepared.wav")
        seconds = time.monotonic() - began
        return await asyncio.to_thread(cpu_seconds, worker) - before, seconds, await peak
    finally:
        await inspector.aclose()


def denoised(sample: Path) -> float:
    """CPU seconds of the noise suppression alone."""
    with wave.open(str(sample)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32_768
    denoiser = denoise.Denoiser()
    began = time.thread_time()
    denoiser.add(samples, last=True)
    return time.thread_time() - began


def jobs(worker: int) -> list[str]:
    return Path(f"/proc/{worker}/task/{worker}/children").read_text().split()


def cpu_seconds(worker: int) -> float:
    """Of the worker and of its jobs, once the last has ended."""
    while jobs(worker):
        time.sleep(POLL_SECONDS)  # its end sets no event
    times = Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[11:15]
    return sum(map(int, times)) / TICKS


def peak_mb(worker: int) -> float:
    """Of the worker's next job, read until it ends."""
    while not (job := jobs(worker)):
        time.sleep(POLL_SECONDS)
    peak = 0.0
    with contextlib.suppress(OSError, IndexError):  # it has ended
        while True:
            status = Path(f"/proc/{job[0]}/status").read_text()
            peak = int(status.split("VmHWM:", 1)[1].split()[0]) / 1024
            time.sleep(POLL_SECONDS)
    return peak
