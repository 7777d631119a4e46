"""Asks a cluster over HTTP/3 with aioquic, an implementation of its own.

Usage: http3.py BINARY CERTIFICATE-OF-THE-AUTHORITY
"""

import asyncio
import contextlib
import pathlib
import random
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

from cluster import PATIENCE_S, Account, Cluster

MIB = 1 << 20


class Answer:
    """An answer, as far as it has come."""

    def __init__(self):
        self.status = 0
        self.fields = {}
        self.trailers = {}
        self.body = bytearray()
        self.done = asyncio.get_running_loop().create_future()


class Client(QuicConnectionProtocol):
    """One HTTP/3 connection."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.http = H3Connection(self._quic)
        self.answers = {}

    async def ask(self, method, path, body=None, fields=()):
        """Makes a request, and waits for the end of its answer."""
        stream = self._quic.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "localhost")]
        head += [(":path", path), *fields]
        if body is not None:
            head.append(("content-length", str(len(body))))
        encoded = [(name.encode(), value.encode()) for name, value in head]
        answer = self.answers[stream] = Answer()
        self.http.send_headers(stream, encoded, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        await asyncio.wait_for(answer.done, PATIENCE_S)
        return answer

    def quic_event_received(self, event):
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            why = RuntimeError(f"the stream was reset: {event.error_code:#x}")
            self._finish(self.answers[event.stream_id], why)
        if isinstance(event, ConnectionTerminated):
            why = RuntimeError(f"{event.error_code:#x} {event.reason_phrase}")
            for answer in self.answers.values():
                self._finish(answer, why)
        for happened in self.http.handle_event(event):
            answer = self.answers.get(getattr(happened, "stream_id", None))
            if answer is None:
                continue
            if isinstance(happened, HeadersReceived):
                self._take_fields(answer, happened.headers)
            elif isinstance(happened, DataReceived):
                answer.body += happened.data
            if getattr(happened, "stream_ended", False):
                self._finish(answer)

    @staticmethod
    def _take_fields(answer, fields):
        fields = {name.decode(): value.decode() for name, value in fields}
        if answer.status >= 200:
            answer.trailers = fields
        else:
            answer.status = int(fields.pop(":status"))
            answer.fields = fields

    @staticmethod
    def _finish(answer, why=None):
        if answer.done.done():
            return
        if why is None:
            answer.done.set_result(None)
        else:
            answer.done.set_exception(why)


def connected(port, authority):
    """A connection for the name of the router's certificate."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN)
    configuration.server_name = "localhost"
    configuration.load_verify_locations(authority)
    return connect("127.0.0.1", port, configuration=configuration, create_protocol=Client)


def content(length, seed):
    """Bytes that are not all the same."""
    return random.Random(seed).randbytes(length)


async def check_items(account, client, files):
    """Everything comes as it is, and is not sent again to who has it."""
    changed, sent_again = [], []
    for name, expected in files.items():
        answer = await client.ask("GET", f"/{name}")
        if answer.status != 200 or bytes(answer.body) != expected:
            changed.append((name, answer.status, answer.fields))
        etag = answer.fields.get("etag", "")
        again = await client.ask("GET", f"/{name}", fields=[("if-none-match", etag)])
        if again.status != 304 or again.body or again.fields.get("etag") != etag:
            sent_again.append((name, again.status, again.fields))
    account.check(f"{len(files)} items as they are", not changed, changed)
    account.check("none is sent again to who has it", not sent_again, sent_again)
    part = await client.ask("GET", "/large", fields=[("range", "bytes=1000000-1999999")])
    is_part = part.status == 206 and bytes(part.body) == files["large"][1_000_000:2_000_000]
    account.check("a part", is_part, f"{part.status} {part.fields}")
    missing = await client.ask("GET", "/missing")
    account.check("what is not there", missing.status == 404, missing.status)


async def check_many(account, client, files):
    """A hundred requests at one time."""
    names = [name for name in files if name != "large"]
    asked = [client.ask("GET", f"/{names[at % len(names)]}") for at in range(100)]
    answers = await asyncio.gather(*asked)
    wrong = [
        at
        for at, answer in enumerate(answers)
        if answer.status != 200 or bytes(answer.body) != files[names[at % len(names)]]
    ]
    account.check("a hundred at one time", not wrong, wrong)


async def check_loss(account, cluster, client, files):
    """Nothing is noticed of a primary that is killed."""
    victims = cluster.primaries()
    account.check("there is one primary", len(victims) == 1, victims)
    wrong = []
    over = asyncio.Event()

    async def ask_on():
        while not over.is_set():
            answer = await client.ask("GET", "/1")
            if answer.status != 200 or bytes(answer.body) != files["1"]:
                wrong.append(answer.status)

    asking = asyncio.gather(*[ask_on() for _ in range(4)])
    await client.ask("GET", "/2")
    await asyncio.to_thread(cluster.kill, victims[0])
    for _ in range(50):
        answer = await client.ask("GET", "/2")
        if bytes(answer.body) != files["2"]:
            wrong.append(answer.status)
    over.set()
    await asking
    account.check("nobody notices that the primary is killed", not wrong, wrong)


class Echo(BaseHTTPRequestHandler):
    """An HTTP/1.1 origin that gives back what it gets."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Seen-Cookie", self.headers.get("cookie", "none"))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Sum")
        self.send_header("Cache-Control", "private")
        self.end_headers()
        for at in range(100):
            piece = content(1000 + at, at)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\nX-Sum: done\r\n\r\n")

    def log_message(self, *_):
        pass


async def check_origin(account, client):
    """Content both ways, and what only origins have."""
    cookie = None
    for length in (0, 1, 20_000, MIB):
        sent = content(length, length)
        answer = await client.ask("POST", "/echo", body=sent)
        is_same = answer.status == 200 and bytes(answer.body) == sent
        account.check(f"{length} bytes up and down", is_same, f"{answer.status}")
        cookie = cookie or answer.fields.get("set-cookie")
    account.check("a cookie is given", (cookie or "").startswith("__Host-understudy="), cookie)
    shown = [("cookie", (cookie or "").split(";")[0])]
    answer = await client.ask("POST", "/echo", body=b"a", fields=shown)
    account.check("the origin does not see it", answer.fields["x-seen-cookie"] == "none")
    answer = await client.ask("GET", "/pieces")
    expected = b"".join(content(1000 + at, at) for at in range(100))
    account.check("pieces", bytes(answer.body) == expected, len(answer.body))
    account.check("trailers", answer.trailers.get("x-sum") == "done", answer.trailers)


@contextlib.contextmanager
def origin():
    """The port of an origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


async def main(binary, authority):
    account = Account()
    files = {str(at): content(500 + 37 * at, at) for at in range(20)}
    files["large"] = content(5 * MIB, "large")
    with tempfile.TemporaryDirectory() as directory:
        for name, expected in files.items():
            pathlib.Path(directory, name).write_bytes(expected)
        with Cluster(binary, "--dir", directory, "--no-restart") as cluster:
            async with connected(cluster.port, authority) as client:
                await check_items(account, client, files)
                await check_many(account, client, files)
                await check_loss(account, cluster, client, files)
    with origin() as port, Cluster(binary, "--origin", f"http://127.0.0.1:{port}") as cluster:
        async with connected(cluster.port, authority) as client:
            await check_origin(account, client)
    return account.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
