"""A real DNS server to ask: nsd, as `tools/peers nsd` unpacks it, with zones of the test's own.

    with Nsd({"abc.com": "@ MX 5 mx1\\nmx1 A 192.0.2.1\\n"}) as nsd:
        Instance(settings={"server": nsd.place})
"""

import os
import shutil
import subprocess
import tempfile
import unittest

from instance import PATIENCE, ROOT, free_port, own_address, wait_for

PEERS = os.path.join(ROOT, "build/peers")
PROGRAM = os.path.join(PEERS, "usr/sbin/nsd")
needs_nsd = unittest.skipUnless(os.path.exists(PROGRAM), "nsd is not here (tools/peers nsd)")

CONF = """
server:
    ip-address: {address}@{port}
    username: ""
    chroot: ""
    zonesdir: "{top}"
    database: ""
    pidfile: "{top}/pid"
    xfrdfile: "{top}/xfrd"
    zonelistfile: "{top}/zonelist"
    logfile: "{top}/log"
    server-count: 1
    rrl-ratelimit: 0
remote-control:
    control-enable: no
"""
SOA = "$ORIGIN {name}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n"


class Nsd:
    """`zones`: {name: records, relative to it}."""

    def __init__(self, zones, address=None, port=None):
        self.top = tempfile.mkdtemp(prefix="posthouse-nsd-")
        self.address = address or own_address()
        self.port = port or free_port(self.address)
        self.place = f"{self.address}@{self.port}"
        text = CONF.format(address=self.address, port=self.port, top=self.top)
        for name, records in zones.items():
            with open(os.path.join(self.top, name), "w", encoding="ascii") as zone:
                zone.write(SOA.format(name=name) + records)
            text += f'zone:\n    name: "{name}"\n    zonefile: "{name}"\n'
        conf = os.path.join(self.top, "nsd.conf")
        with open(conf, "w", encoding="ascii") as file:
            file.write(text)
        with open(os.path.join(PEERS, "library-path"), encoding="utf-8") as path:
            environment = dict(os.environ, LD_LIBRARY_PATH=path.read().strip())
        self.process = subprocess.Popen([PROGRAM, "-d", "-c", conf], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for(self.ready, "nsd")

    def said(self):
        try:
            with open(os.path.join(self.top, "log"), encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"nsd ended:\n{self.said()}")
        return "nsd started" in self.said()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.top)
