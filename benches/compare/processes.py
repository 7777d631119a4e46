"""Processes of one comparison: pinned, bounded, and ended with it, whatever happens."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

READY_TIMEOUT_S = 15
STOP_TIMEOUT_S = 3
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Problem(Exception):
    """Something that the reader of the output can do something about."""


def pin_here(core):
    """Run between fork and exec: the core, and the end together with this program."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})


class Process:
    """A running program, its log, and where it listens."""

    def __init__(self, name, command, core, directory, environment=None):
        self.name = name
        self.log = Path(directory) / f"{name}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=lambda: pin_here(core),
            )

    @property
    def pid(self):
        return self.child.pid

    def fail(self, what):
        last_lines = self.log.read_text(errors="replace").strip().splitlines()[-5:]
        raise Problem(f"{self.name} {what}:\n  " + "\n  ".join(last_lines))

    def wait_until(self, ready, what):
        """Until `ready()` gives something, which is returned; it may raise OSError meanwhile."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                self.fail(f"ended with {self.child.returncode}")
            try:
                found = ready()
            except OSError:
                found = None
            if found:
                return found
            time.sleep(0.05)
        self.fail(f"did not {what} in {READY_TIMEOUT_S} s")

    def wait_for_line(self, pattern, what):
        """Until the log has a match of `pattern`, which is returned."""
        return self.wait_until(lambda: re.search(pattern, self.log.read_text()), what)

    def wait_for_tcp(self, port):
        self.wait_until(lambda: connects(port), "listen")

    def resident_bytes(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


@contextmanager
def started(*arguments, **keywords):
    """A process for the length of a block."""
    process = Process(*arguments, **keywords)
    try:
        yield process
    finally:
        process.stop()


def connects(port):
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def free_port():
    """A port that is free for TCP and UDP now, and so most likely in a moment too."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise Problem("no port is free on 127.0.0.1")
