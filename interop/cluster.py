"""A cluster that `understudy up` runs, and an account of what was checked."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

# Long enough for any machine. What passes does not wait for it.
PATIENCE_S = 60


class Cluster:
    """Routers and servers on free ports; they end with the block that they are used in."""

    def __init__(self, binary, *arguments):
        command = [binary, "up", "--json", "--until-stdin-ends"]
        command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *arguments]
        self.said = tempfile.TemporaryFile()
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.said)
        self.processes = {}
        self.exited = set()
        self.changed = threading.Condition()
        self.is_ready = self.is_over = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            event = json.loads(line)
            with self.changed:
                if event["event"] in ("started", "restarted"):
                    self.processes[event["name"]] = event
                if event["event"] == "child_exited":
                    self.exited.add(event["name"])
                self.is_ready |= event["event"] == "ready"
                self.changed.notify_all()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def _wait(self, what, is_so):
        with self.changed:
            self.changed.wait_for(lambda: is_so() or self.is_over, PATIENCE_S)
            if not is_so():
                raise RuntimeError(f"it never came about: {what}")

    def __enter__(self):
        self._wait("the cluster is ready", lambda: self.is_ready)
        return self

    def __exit__(self, failure, *_):
        self.child.stdin.close()
        try:
            self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
        if failure:
            self.said.seek(0)
            sys.stderr.write(self.said.read().decode(errors="replace"))

    @property
    def port(self):
        """Where clients come in."""
        return int(self.processes["router"]["address"].rsplit(":", 1)[1])

    def page(self, name, path):
        """An admin page of a process."""
        url = f"http://{self.processes[name]['admin']}{path}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def primaries(self):
        """The servers that have clients as primary."""
        servers = [name for name in self.processes if name.startswith("server")]
        return [
            name
            for name in servers
            if name not in self.exited and self.page(name, "/status")["primary_clients"] > 0
        ]

    def kill(self, name):
        """Kills a process, and waits until that is noticed."""
        os.kill(self.processes[name]["pid"], signal.SIGKILL)
        self._wait(f"{name} has ended", lambda: name in self.exited)


class Account:
    """What was checked, and what of it holds."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, holds, found=""):
        """Notes one thing, and says so."""
        if holds:
            self.passed += 1
            print(f"ok: {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED: {what}: {found}"[:2000], flush=True)

    def close(self):
        """The sum, as the code with which the program is to end."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0
