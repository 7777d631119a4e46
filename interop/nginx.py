"""Asks a cluster over HTTP/3 that passes requests to nginx.

Usage: nginx.py BINARY CERTIFICATE-OF-THE-AUTHORITY NGINX
"""

import asyncio
import contextlib
import gzip
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from cluster import PATIENCE_S, Account, Cluster
from http3 import MIB, connected, content

TEXT = b"the same again, " * 1000

CONFIGURATION = """
daemon off;
master_process off;
pid {place}/pid;
error_log {place}/errors;
events {{}}
http {{
    access_log {place}/requests;
    client_body_temp_path {place}/content;
    client_max_body_size 4m;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    types {{ text/plain txt; }}
    gzip on;
    gzip_types text/plain;
    gzip_proxied any;
    gzip_vary on;
    server {{
        listen 127.0.0.1:{port};
        root {place}/files;
        location / {{ dav_methods PUT DELETE; }}
        location /fresh/ {{ expires 1h; }}
        location /slow/ {{ limit_rate 200k; add_header Cache-Control no-store; }}
        location /moved {{ return 301 /fresh/a; }}
        location /refused {{ return 403 "no\\n"; }}
        location /gone {{ return 444; }}
    }}
}}
"""


@contextlib.contextmanager
def origin(nginx, place):
    """nginx on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = pathlib.Path(place, "nginx.conf")
    path.write_text(CONFIGURATION.format(place=place, port=port))
    child = subprocess.Popen([nginx, "-p", place, "-c", path, "-e", f"{place}/errors"])
    try:
        wait_for_port(port)
        yield port
    finally:
        child.terminate()
        child.wait(PATIENCE_S)


def wait_for_port(port):
    """Waits until somebody listens there."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def requests(place, what):
    """How often nginx was asked for something."""
    return pathlib.Path(place, "requests").read_text().count(what)


async def check_reads(account, client, place, files):
    """What nginx has comes as it is."""
    for name, expected in files.items():
        answer = await client.ask("GET", f"/{name}")
        is_same = answer.status == 200 and bytes(answer.body) == expected
        account.check(f"{name} as it is", is_same, f"{answer.status} {answer.fields}")
        tag = [("if-none-match", answer.fields.get("etag", ""))]
        again = await client.ask("GET", f"/{name}", fields=tag)
        is_short = again.status == 304 and not again.body
        account.check(f"{name} is not sent again", is_short, f"{again.status} {again.fields}")
    part = await client.ask("GET", "/large", fields=[("range", "bytes=100-199999")])
    is_part = part.status == 206 and bytes(part.body) == files["large"][100:200_000]
    account.check("a part", is_part, f"{part.status} {part.fields}")
    before = requests(place, "GET /fresh/a")
    for _ in range(5):
        answer = await client.ask("GET", "/fresh/a")
        account.check("what is fresh", bytes(answer.body) == files["fresh/a"], answer.status)
    account.check("it is asked for once", requests(place, "GET /fresh/a") == before)
    for accepts in ("gzip", "identity", "gzip"):
        fields = [("accept-encoding", accepts)]
        answer = await client.ask("GET", "/text.txt", fields=fields)
        is_small = answer.fields.get("content-encoding") == "gzip"
        body = gzip.decompress(answer.body) if is_small else bytes(answer.body)
        is_right = body == TEXT and is_small == (accepts == "gzip")
        account.check(f"a text as {accepts}", is_right, answer.fields)
    for path, status in [("/missing", 404), ("/moved", 301), ("/refused", 403), ("/gone", 502)]:
        answer = await client.ask("GET", path)
        account.check(f"{path} is {status}", answer.status == status, answer.status)


async def check_writes(account, client, place):
    """What is put there is there."""
    for length in (10, MIB):
        sent = content(length, length)
        answer = await client.ask("PUT", f"/put-{length}", body=sent)
        account.check(f"{length} bytes are put", answer.status == 201, answer.status)
        stored = pathlib.Path(place, "files", f"put-{length}").read_bytes()
        account.check(f"{length} bytes are there", stored == sent, len(stored))
        answer = await client.ask("GET", f"/put-{length}")
        account.check(f"{length} bytes come back", bytes(answer.body) == sent, answer.status)
    answer = await client.ask("DELETE", "/put-10")
    account.check("one is deleted", answer.status == 204, answer.status)
    answer = await client.ask("GET", "/put-10")
    account.check("it is gone", answer.status == 404, answer.status)
    answer = await client.ask("PUT", "/too-much", body=content(5 * MIB, 1))
    account.check("too much is refused", answer.status == 413, answer.status)


async def main(binary, authority, nginx):
    account = Account()
    names = {"a": 1000, "large": MIB, "fresh/a": 700, "slow/a": 300_000, "empty": 0}
    files = {name: content(length, name) for name, length in names.items()}
    with tempfile.TemporaryDirectory() as place:
        for name, expected in (files | {"text.txt": TEXT}).items():
            path = pathlib.Path(place, "files", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(expected)
        with (
            origin(nginx, place) as port,
            Cluster(binary, "--origin", f"http://127.0.0.1:{port}") as cluster,
        ):
            async with connected(cluster.port, authority) as client:
                await check_reads(account, client, place, files)
                await check_writes(account, client, place)
    return account.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
