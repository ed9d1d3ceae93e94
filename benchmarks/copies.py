"""Many data sets for a local service: copies of the demo's data set 909 under other ids.

    python benchmarks/copies.py --data-sets 40 [--delay 0.1]

Serves them until its input ends, and prints the address first. Every request waits for the delay
before it is answered, as on a line of that latency; the pictures are rendered before that, once,
at the tier that is served.
"""

from __future__ import annotations

import argparse
import sys

from atldld.testing.sources import Copies, served


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=40)
    parser.add_argument("--delay", type=float, default=0.1)
    options = parser.parse_args()
    with served(Copies(options.data_sets), options.delay) as service:
        print(service.address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
