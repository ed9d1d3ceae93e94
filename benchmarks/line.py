"""A slow line in front of a local service: latency, slow start, a bandwidth that all share.

    python benchmarks/line.py http://127.0.0.1:8765 [--round-trip 0.15] [--megabits 200]

Prints the address to ask instead, then, at each line of its input, how many bytes it has carried.
The model is TCP's, simplified:

- A new connection waits one round trip (the handshake) and every request another one.
- A connection starts with ten segments in flight for each round trip and doubles them in every
  round trip that used them up; after a pause of more than 0.35 s it starts again (RFC 2861).
- All connections together carry at most the bandwidth.

Time is what the line takes; the service behind it is asked over the loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from urllib.parse import urlsplit

SEGMENT = 1448
FIRST_WINDOW = 10 * SEGMENT
LARGEST_WINDOW = 16 << 20
IDLE = 0.35  # seconds after which a connection starts slowly again
PIECE = 16 << 10


class Bandwidth:
    """What all connections share: a time from which the line is free."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self.free_from = 0.0
        self.carried = 0

    async def carry(self, count: int) -> None:
        """Wait until so many bytes have gone through, after those of others."""
        now = time.monotonic()
        begins = max(now, self.free_from)
        self.free_from = begins + count / self.bytes_per_second
        self.carried += count
        # sleeping is coarse: only what lies ahead by more than a few milliseconds is waited for
        if self.free_from - now > 0.004:
            await asyncio.sleep(self.free_from - now)


class Window:
    """How much one connection may send before it hears back."""

    def __init__(self, round_trip: float) -> None:
        self.round_trip = round_trip
        self.size = FIRST_WINDOW
        self.left = FIRST_WINDOW
        self.since = self.last = time.monotonic()

    async def take(self, count: int) -> None:
        """Wait until so many bytes may be sent."""
        now = time.monotonic()
        if now - self.last > IDLE + self.round_trip:
            self.size = self.left = FIRST_WINDOW
            self.since = now
        elif now - self.since > self.round_trip:
            self.left, self.since = self.size, now
        if count > self.left:
            await asyncio.sleep(max(self.since + self.round_trip - now, 0))
            self.size = min(self.size * 2, LARGEST_WINDOW)
            self.left, self.since = self.size, time.monotonic()
        self.left -= count
        self.last = time.monotonic()


async def carry_connection(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    round_trip: float,
    bandwidth: Bandwidth,
) -> None:
    """Carry one connection of a client until either side ends it."""
    there_reader, there_writer = await asyncio.open_connection(host, port, limit=4 << 20)
    window = Window(round_trip)
    await asyncio.sleep(round_trip)  # the handshake

    async def questions() -> None:
        while question := await reader.read(1 << 16):
            await asyncio.sleep(round_trip)  # there, and back for the first byte of the answer
            there_writer.write(question)
            await there_writer.drain()
        there_writer.write_eof()

    async def answers() -> None:
        while piece := await there_reader.read(PIECE):
            await window.take(len(piece))
            await bandwidth.carry(len(piece))
            writer.write(piece)
            await writer.drain()

    tasks = [asyncio.create_task(questions()), asyncio.create_task(answers())]
    with contextlib.suppress(OSError):
        _, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for one in (writer, there_writer):
        with contextlib.suppress(OSError):
            one.close()


async def run(target: str, round_trip: float, megabits: float) -> None:
    parts = urlsplit(target)
    bandwidth = Bandwidth(megabits * 1e6 / 8)

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await carry_connection(
            reader, writer, parts.hostname or "", parts.port or 80, round_trip, bandwidth
        )

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    print("http://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(bandwidth.carried, flush=True)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--round-trip", type=float, default=0.15)
    parser.add_argument("--megabits", type=float, default=200)
    options = parser.parse_args()
    asyncio.run(run(options.target, options.round_trip, options.megabits))


if __name__ == "__main__":
    main()
