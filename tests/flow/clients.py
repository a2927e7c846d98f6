"""Running the mail clients that people have: those that are installed, or that tools/peers unpacked."""

import os
import shutil
import subprocess
import unittest

from instance import PATIENCE, ROOT

PEERS = os.path.join(ROOT, "build/peers")


def program(name):
    """Its path, or None, and the environment that it wants."""
    unpacked = os.path.join(PEERS, "usr/bin", name)
    if os.path.exists(unpacked):
        with open(os.path.join(PEERS, "library-path"), encoding="utf-8") as path:
            return unpacked, {"LD_LIBRARY_PATH": path.read().strip()}
    return shutil.which(name), {}


def needs(name):
    return unittest.skipUnless(program(name)[0], f"{name} is not here (tools/peers {name})")


class Home:
    """A home directory that clients find their configuration in."""

    def __init__(self, instance):
        self.path = os.path.join(instance.top, "home")
        os.makedirs(os.path.join(self.path, "Mail"))  # else mutt asks for it

    def run(self, name, *words, conf="", stdin=b""):
        """Runs a client, whose configuration, if any, takes the place of CONF among the words.
        Exit status, standard output, and standard error."""
        path, environment = program(name)
        conf_path = os.path.join(self.path, name + "rc")
        with open(conf_path, "w", encoding="utf-8") as file:
            file.write(conf)
        os.chmod(conf_path, 0o600)
        done = subprocess.run([path, *(conf_path if word == "CONF" else word for word in words)],
                              input=stdin, capture_output=True, timeout=PATIENCE, check=False,
                              cwd=self.path, env={**os.environ, **environment, "HOME": self.path,
                                                  "TERM": "vt100", "LC_ALL": "C.UTF-8"})
        return done.returncode, done.stdout, done.stderr
