"""Opens a page of a cluster in a browser, Chromium, over HTTP/3.

The browser is driven through its DevTools protocol, over a websocket.

Usage: browser.py BINARY CERTIFICATE-OF-THE-ROUTER CHROMIUM
"""

import asyncio
import base64
import hashlib
import itertools
import json
import pathlib
import sys
import tempfile
import time

import websockets
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cluster import PATIENCE_S, Account, Cluster

# The page's parts: scripts that count themselves, after a byte for byte different comment.
PARTS = 100
TIMINGS = """JSON.stringify({
    count: window.count, failed: window.failed,
    protocols: [...performance.getEntriesByType('resource'),
        ...performance.getEntriesByType('navigation')].map(it => it.nextHopProtocol)})"""


def write_page(directory):
    """The page, and its parts."""
    tags = "".join(
        f'<script src="{at}.js" onerror="window.failed++"></script>\n' for at in range(PARTS)
    )
    start = "<!doctype html><title>Parts</title><link rel=icon href=data:,>"
    start += "<script>window.count = window.failed = 0</script>\n"
    pathlib.Path(directory, "index.html").write_text(start + tags)
    for at in range(PARTS):
        text = f"// {'x' * (at * 10)}\nwindow.count += 1;\n"
        pathlib.Path(directory, f"{at}.js").write_text(text)


def fingerprint(certificate):
    """By what the browser is to know the router's key: its SHA-256, in base 64."""
    parsed = x509.load_pem_x509_certificate(pathlib.Path(certificate).read_bytes())
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(parsed.public_key().public_bytes(*form)).digest()
    return base64.b64encode(digest).decode()


class Browser:
    """A page of a browser, and what it tells of the network."""

    def __init__(self, socket):
        self.socket = socket
        self.numbers = itertools.count(1)
        self.waiting = {}
        self.session = None
        self.loaded = asyncio.Event()
        self.statuses = []
        self.failures = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        async for text in self.socket:
            message = json.loads(text)
            waiting = self.waiting.pop(message.get("id"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
            parameters = message.get("params", {})
            match message.get("method"):
                case "Page.loadEventFired":
                    self.loaded.set()
                case "Network.responseReceivedExtraInfo":
                    self.statuses.append(parameters["statusCode"])
                case "Network.loadingFailed":
                    self.failures.append(parameters)

    async def order(self, method, **parameters):
        """Gives an order, and waits until it is done."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        done = self.waiting[number] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps(message))
        answer = await asyncio.wait_for(done, PATIENCE_S)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def attach(self):
        """Opens a page."""
        target = await self.order("Target.createTarget", url="about:blank")
        place = {"targetId": target["targetId"], "flatten": True}
        self.session = (await self.order("Target.attachToTarget", **place))["sessionId"]
        await self.order("Page.enable")
        await self.order("Network.enable")
        # The end of what it has loaded already is not to be taken for that of the first page.
        await self.load("Page.navigate", answers=0, url="data:text/html,<title>Nothing</title>")

    async def load(self, method, answers=PARTS + 1, **parameters):
        """Loads a page: what it found, the statuses of answers, and what failed."""
        self.loaded.clear()
        self.statuses, self.failures = [], []
        ordered = await self.order(method, **parameters)
        if "errorText" in ordered:
            raise RuntimeError(f"the page does not load: {ordered['errorText']}")
        await asyncio.wait_for(self.loaded.wait(), PATIENCE_S)
        # The news of answers may come a little later.
        until = time.monotonic() + PATIENCE_S
        while len(self.statuses) < answers and time.monotonic() < until:
            await asyncio.sleep(0.01)
        result = await self.order("Runtime.evaluate", expression=TIMINGS)
        found = json.loads(result["result"]["value"])
        return found, self.statuses, self.failures


async def start(chromium, certificate, port, directory):
    """Starts the browser, and finds out where it takes orders."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += ["--disable-dev-shm-usage", "--remote-debugging-port=0"]
    flags += [f"--origin-to-force-quic-on=localhost:{port}"]
    flags += [f"--ignore-certificate-errors-spki-list={fingerprint(certificate)}"]
    flags += ["--host-resolver-rules=MAP localhost 127.0.0.1", f"--user-data-dir={directory}"]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(chromium, *flags, "about:blank", stderr=pipe)
    said = []
    while line := await asyncio.wait_for(child.stderr.readline(), PATIENCE_S):
        said.append(line.decode(errors="replace"))
        if "DevTools listening on " in said[-1]:
            # What it says from now on is of no interest, but must be taken from it.
            asyncio.create_task(child.stderr.read())
            return child, said[-1].split()[-1]
    raise RuntimeError(f"the browser does not start: {''.join(said)}")


def check(account, what, loaded):
    """Checks one load of the page."""
    found, _, failures = loaded
    is_whole = (found["count"], found["failed"]) == (PARTS, 0) and not failures
    account.check(f"{what}: the page is whole", is_whole, (found, failures))
    others = [protocol for protocol in found["protocols"] if protocol != "h3"]
    is_all = not others and len(found["protocols"]) == PARTS + 1
    account.check(f"{what}: all came over HTTP/3", is_all, found["protocols"])


async def check_all(account, cluster, browser):
    """Loads the page, again, and again after its primary was killed."""
    url = f"https://localhost:{cluster.port}/"
    loaded = await browser.load("Page.navigate", url=url)
    check(account, "first", loaded)
    account.check("first: all was sent", loaded[1] == [200] * (PARTS + 1), loaded[1])
    loaded = await browser.load("Page.reload")
    check(account, "reload", loaded)
    account.check("reload: nothing was sent again", loaded[1] == [304] * (PARTS + 1), loaded[1])
    victims = cluster.primaries()
    account.check("there is one primary", len(victims) == 1, victims)
    loading = asyncio.create_task(browser.load("Page.reload", ignoreCache=True))
    await asyncio.to_thread(cluster.kill, victims[0])
    check(account, "while the primary is killed", await loading)
    loaded = await browser.load("Page.reload")
    check(account, "after that", loaded)
    account.check("after that: nothing again", loaded[1] == [304] * (PARTS + 1), loaded[1])


async def main(binary, certificate, chromium):
    account = Account()
    with (
        tempfile.TemporaryDirectory() as files,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        write_page(files)
        with Cluster(binary, "--dir", files, "--no-restart") as cluster:
            child, url = await start(chromium, certificate, cluster.port, profile)
            try:
                async with websockets.connect(url, max_size=None) as socket:
                    browser = Browser(socket)
                    await browser.attach()
                    await check_all(account, cluster, browser)
            finally:
                child.terminate()
                await child.wait()
    return account.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
