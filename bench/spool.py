#!/usr/bin/python3
"""What a long queue costs: `make bench` runs this first. See README.md beside it.

    bench/spool.py [--build DIR] [--letters N] [--body OCTETS]

DIR holds posthouse, libexec/posthouse/ and spool_fill (in bench/ or meson/bench/ of it).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests/flow"))

from instance import Instance, Trouble, memory, spool_fill, wait_for  # noqa: E402
from table import row  # noqa: E402

ALICE = "alice@example.test"
HOUR = 3600


def first_letter(instance):
    """Tries until a letter is acknowledged: the port may not be there yet, or say 4yz."""
    def accepted():
        try:
            with instance.smtp() as client:
                client.letter("a@example.org", [ALICE], b"Subject: first\r\n\r\n")
            return True
        except (OSError, Trouble):
            return False
    wait_for(accepted, "a final 250", HOUR)


def measure_start(build, letters, body):
    with Instance(build, users=(ALICE,), start=False) as instance:
        made = instance.fill(f"letters={letters}", f"body={body}", ALICE)
        row("letters in the spool", letters, "")
        row("spool_fill: letters a second", letters / made["seconds"], "1/s")
        begin = time.monotonic()
        instance.launch()
        wait_for(lambda: "posthouse: ready\n" in instance.said(), "posthouse: ready", HOUR)
        row("start to ready", time.monotonic() - begin, "s")
        first_letter(instance)
        row("start to the first final 250", time.monotonic() - begin, "s")
        wait_for(lambda: (instance.queue_count() or 0) >= letters, "all indexed", HOUR)
        row("start to all indexed", time.monotonic() - begin, "s")
        row("memory of the queue a recipient",
            memory(instance.child("queue")["pid"])["VmRSS"] / letters, "octets")
        begin = time.monotonic()
        listed = subprocess.run([instance.command, "-c", instance.conf, "queue", "list", "--json"],
                                stdout=subprocess.PIPE, check=True).stdout.count(b"\n")
        row("queue list: recipients a second", listed / (time.monotonic() - begin), "1/s")


def measure_space(build, letters, body):
    """Tenfold turnover, a tenth deferred."""
    with tempfile.TemporaryDirectory(prefix="posthouse-") as spool:
        made = spool_fill(build, spool, f"letters={letters}", f"body={body}", "ended=9", ALICE)
        size = made["segments"] * made["segment_bytes"]
        bound = 2 * made["live_bytes"] + 4 * made["segment_bytes"]
        row("turnover: letters, a tenth of them deferred", letters, "")
        row("turnover: octets of the log, while letters came",
            made["segments_most"] * made["segment_bytes"], "octets")
        row("turnover: octets of the log, a little later", size, "octets")
        row("turnover: bound, 2 x live + 4 segments", bound, "octets")
        row("turnover: octets written for each of a letter",
            made["written_bytes"] / made["letter_bytes"], "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default=os.path.join(os.path.dirname(HERE), "build"))
    parser.add_argument("--letters", type=int, default=1000000)
    parser.add_argument("--body", type=int, default=512)
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    measure_start(build, options.letters, options.body)
    measure_space(build, options.letters, 4096)


if __name__ == "__main__":
    main()
