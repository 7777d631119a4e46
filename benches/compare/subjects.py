"""Who is compared: the peers, the floors and we, each started once and then measured in turn."""

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import peers
from processes import READY_TIMEOUT_S, Problem, Process, free_port

ROOT = Path(__file__).resolve().parents[2]
CERTS = ROOT / "certs"
# The work on one core, the load on the other, so that neither takes the other's caches.
WORK_CORE = 0
LOAD_CORE = 1
ETAG = '"floor"'


@dataclass
class Subject:
    """Where load goes, and whose CPU time counts."""

    name: str
    target: list
    work: list
    origins: list = field(default_factory=list)
    mode: str = ""


class Stack(ExitStack):
    """Starts processes in one directory, and stops them all at the end."""

    def __init__(self, directory):
        super().__init__()
        self.directory = directory

    def start(self, name, command, core=WORK_CORE, environment=None):
        process = Process(name, command, core, self.directory, environment)
        self.callback(process.stop)
        return process


def http3_target(port, item, directory):
    """The arguments of the load generator for one item of an HTTP/3 server."""
    keys = directory / f"keys-{item}"
    keys.write_text(f"/{item}\n")
    return ["--http3", f"https://127.0.0.1:{port}", "--insecure", "--keys", str(keys)]


def native_target(port):
    """The same for a router, or whoever speaks its protocol."""
    return ["--router", f"127.0.0.1:{port}", "--ca", str(CERTS / "ca.pem")]


class Floors:
    """The bare-quinn servers."""

    def __init__(self, stack, program, bound_s):
        self.stack, self.program, self.bound_s = stack, program, bound_s

    def start(self, name, mode, *options):
        """A floor, with its port."""
        command = [self.program, mode, *options, "--seconds", self.bound_s]
        floor = self.stack.start(name, command)
        line = floor.wait_for_line(r"listening on \S+:(\d+) ", "listen")
        return floor, int(line[1])


class Cluster:
    """A router and servers of ours, each with one worker, on the built-in sample or a source that is
    named."""

    def __init__(self, stack, program, servers, source="{ sample = true }", prefix="", first="/"):
        self.program, self.source = program, source
        self.prefix, self.first = prefix, first
        ports = [free_port() for _ in range(servers)]
        self.servers = [self.start_server(stack, number, ports) for number in range(servers)]
        self.port = free_port()
        self.router = self.start_router(stack, ports)
        self.wait_until_it_answers()

    def start_server(self, stack, number, ports):
        name = f"server-{number + 1}"
        others = [f"127.0.0.1:{port}" for port in ports if port != ports[number]]
        text = f"""\
name = "{name}"
listen = "127.0.0.1:{ports[number]}"
workers = 1
threshold = 1_000_000
seeds = {others}
{backplane("server")}
[[pool]]
name = "default"
source = {self.source}
"""
        return self.start_part(stack, "server", name, text)

    def start_router(self, stack, ports):
        text = f"""\
listen = "127.0.0.1:{self.port}"
workers = 1
[tls]
cert = "{CERTS}/server.pem"
key = "{CERTS}/server.key"
{backplane("router")}
seeds = {[f"127.0.0.1:{port}" for port in ports]}
[[pool]]
name = "default"
"""
        return self.start_part(stack, "router", "router", text)

    def start_part(self, stack, role, name, text):
        name = self.prefix + name
        file = stack.directory / f"{name}.toml"
        file.write_text(text.replace("'", '"'))
        return stack.start(name, [self.program, role, "--config", file])

    def wait_until_it_answers(self):
        """A first request is answered once the router has found a server."""
        command = [self.program, "get", *native_target(self.port), self.first]
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.router.child.poll() is not None:
                self.router.fail("ended")
            got = subprocess.run(command, capture_output=True, timeout=READY_TIMEOUT_S)
            if got.returncode == 0:
                return
            time.sleep(0.1)
        self.router.fail("gave no answer: " + got.stderr.decode(errors="replace"))


def backplane(role):
    names = [("ca", "backplane-ca.pem"), ("cert", f"backplane-{role}.pem")]
    names.append(("key", f"backplane-{role}.key"))
    return "\n".join(["[backplane]", *(f'{key} = "{CERTS}/{file}"' for key, file in names)])


class Everybody:
    """All that run at the same time; idle ones cost next to nothing."""

    def __init__(self, stack, options):
        self.stack, self.options, self.missing = stack, options, []
        self.floors = Floors(stack, options.floors, options.bound_s)
        self.proxies, self.origins = {}, []
        self.cluster = self.http_cluster = None

    def try_to(self, what, start):
        """What cannot be had is said, and the rest goes on without it."""
        try:
            return start()
        except (Problem, OSError) as problem:
            self.missing.append(f"{what}: {problem}")
            print(f"compare: without {what}: {problem}", file=sys.stderr)
            return None

    def start_peers(self):
        origins = self.try_to("the peers", lambda: peers.start_origins(
            self.stack, self.stack.directory, WORK_CORE))
        if not origins:
            return
        self.origins = [origin for origin, _ in origins]
        ports = [port for _, port in origins]
        for name, start in (("envoy", peers.start_envoy), ("caddy", peers.start_caddy)):
            program = self.options.peers / "bin" / name
            if not program.exists():
                self.missing.append(f"{name}: its package is not installed")
                continue
            proxy = self.try_to(name, lambda: start(
                self.stack, self.stack.directory, WORK_CORE, program, CERTS, ports))
            if proxy:
                self.proxies[name] = proxy

    def start_cluster(self):
        program = self.options.understudy
        self.cluster = self.try_to("our router", lambda: Cluster(
            self.stack, program, self.options.servers))

    def start_http_cluster(self):
        program = self.options.understudy
        items = self.stack.directory / "http-items"
        peers.write_items(items)
        source = f'{{ dir = "{items}", freshness = "watch" }}'
        self.http_cluster = self.try_to("our router for HTTP", lambda: Cluster(
            self.stack, program, self.options.servers, source, "http-", "/1k.bin"))

    def peer_subjects(self, item):
        return [Subject(name, http3_target(port, item, self.stack.directory), [proxy.pid],
                        [origin.pid for origin in self.origins])
                for name, (proxy, port) in self.proxies.items()]

    def http3_floor(self, item):
        size = peers.ITEMS[item]
        floor, port = self.floors.start(f"floor-h3-{size}", "h3", "--etag", ETAG, "--size", size)
        target = http3_target(port, item, self.stack.directory)
        return Subject("floor: h3 by itself", target, [floor.pid])

    def relay_floor(self, item):
        source, source_port = self.floors.start("floor-source", "source", "--size",
                                                peers.ITEMS[item])
        options = ["--upstream", f"127.0.0.1:{source_port}"]
        floor, port = self.floors.start("floor-relay", "h3", *options)
        target = http3_target(port, item, self.stack.directory)
        return Subject("floor: receive + send", target, [floor.pid], [source.pid])

    def native_floor(self, floor, mode):
        process, port = self.floors.start(f"floor-{floor}", floor)
        return Subject(f"floor: {floor}", native_target(port), [process.pid], [], mode)

    def us_by_http(self, item):
        if self.http_cluster is None:
            return []
        cluster = self.http_cluster
        pids = [cluster.router.pid, *(server.pid for server in cluster.servers)]
        target = http3_target(cluster.port, item, self.stack.directory)
        return [Subject("understudy", target, pids)]

    def us(self):
        if self.cluster is None:
            return []
        pids = [self.cluster.router.pid, *(server.pid for server in self.cluster.servers)]
        return [Subject("understudy", native_target(self.cluster.port), pids)]


def idle_memory(stack, process, port, program, count, seconds):
    """Bytes by which the resident memory of `process` grew for each of so many idle connections."""
    before = process.resident_bytes()
    # Time to connect them all, as long as the handshakes of a slow core take, and to be idle.
    bound = seconds + 30 + count // 500
    command = [program, "hold", "--connect", f"127.0.0.1:{port}", "--connections", count]
    holder = stack.start(f"hold-{process.name}", [*command, "--seconds", bound], LOAD_CORE)
    deadline = time.monotonic() + bound
    while not re.search("holding", holder.log.read_text()):
        if holder.child.poll() is not None or time.monotonic() > deadline:
            holder.fail("did not get all its connections")
        time.sleep(0.2)
    time.sleep(seconds)
    grown = process.resident_bytes() - before
    holder.stop()
    return grown / count
