"""The peers: Envoy and Caddy in front of two nginx origins, set up as well as we know how.

Each listens for HTTP/3 with the development certificate, has one worker, keeps its connections to
the origins, and logs nothing.
"""

import json
import os
import random
import shutil
import urllib.request
from pathlib import Path

from processes import Problem, Process, free_port

ITEMS = {"1k.bin": 1024, "10m.bin": 10_000_000}
KEEP_ALIVE = 1_000_000

NGINX = """\
daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; etag on; sendfile on; tcp_nopush on;
  keepalive_requests {keep_alive}; keepalive_timeout 300s;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}
}}
"""

CADDY = """\
{{
  admin off
  persist_config off
  auto_https off
  skip_install_trust
  default_sni localhost
}}
https://:{port} {{
  tls {certs}/server.pem {certs}/server.key
  reverse_proxy {upstreams} {{
    lb_policy round_robin
    transport http {{
      keepalive 300s
      keepalive_idle_conns 4096
      keepalive_idle_conns_per_host 1024
    }}
  }}
}}
"""


def write_items(root):
    """The static tree of the origins."""
    root.mkdir(parents=True, exist_ok=True)
    noise = random.Random(1)
    for name, size in ITEMS.items():
        (root / name).write_bytes(noise.randbytes(size))


def start_origins(stack, directory, core):
    """Two nginx processes; gives them with their ports."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Problem("nginx is missing (Debian: apt-get install nginx-light)")
    root = directory / "items"
    write_items(root)
    origins = []
    for number in (1, 2):
        name, port = f"nginx-{number}", free_port()
        place = directory / name
        place.mkdir(exist_ok=True)
        fields = {"directory": place, "root": root, "port": port, "keep_alive": KEEP_ALIVE}
        (place / "nginx.conf").write_text(NGINX.format(**fields))
        command = [program, "-p", place, "-e", "stderr", "-c", place / "nginx.conf"]
        origin = stack.start(name, command, core)
        origin.wait_for_tcp(port)
        origins.append((origin, port))
    return origins


def start_caddy(stack, directory, core, program, certs, origin_ports):
    """Caddy; gives it with its port."""
    port = free_port()
    upstreams = " ".join(f"127.0.0.1:{origin}" for origin in origin_ports)
    file = directory / "Caddyfile"
    file.write_text(CADDY.format(port=port, certs=certs, upstreams=upstreams))
    environment = os.environ | {"HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    environment["XDG_CONFIG_HOME"] = str(directory)
    command = [program, "run", "--config", file, "--adapter", "caddyfile"]
    caddy = stack.start("caddy", command, core, environment)
    caddy.wait_for_tcp(port)
    return caddy, port


def start_envoy(stack, directory, core, program, certs, origin_ports):
    """Envoy; gives it with its port."""
    port, admin = free_port(), free_port()
    file = directory / "envoy.json"
    file.write_text(json.dumps(envoy_configuration(port, admin, certs, origin_ports), indent=1))
    # Hot restart is for a successor, and would take a fixed place in shared memory.
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    envoy = stack.start("envoy", [program, "-c", file, *options], core)
    envoy.wait_until(lambda: envoy_is_live(admin), "become ready")
    return envoy, port


def envoy_is_live(admin):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=1) as answer:
        return answer.status == 200


def address(port, protocol="TCP"):
    socket = {"protocol": protocol, "address": "127.0.0.1", "port_value": port}
    return {"address": {"socket_address": socket}}


def typed(kind, **fields):
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def envoy_configuration(port, admin, certs, origin_ports):
    route = {"match": {"prefix": "/"}, "route": {"cluster": "origins", "timeout": "60s"}}
    router = {"name": "router", "typed_config": typed("extensions.filters.http.router.v3.Router")}
    manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        codec_type="HTTP3",
        stat_prefix="in",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[router],
    )
    files = {name: {"filename": str(certs / f"server.{ending}")}
             for name, ending in (("certificate_chain", "pem"), ("private_key", "key"))}
    tls = typed(
        "extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
        downstream_tls_context={"common_tls_context": {"tls_certificates": [files]}},
    )
    listener = {
        "name": "http3",
        **address(port, "UDP"),
        "udp_listener_config": {
            "quic_options": {},
            "downstream_socket_config": {"prefer_gro": True},
        },
        "filter_chains": [{
            "transport_socket": {"name": "quic", "typed_config": tls},
            "filters": [{"name": "http", "typed_config": manager}],
        }],
    }
    # Its default of 1,024 requests is a safety net, not a tuning.
    limit = {name: 1_000_000
             for name in ("max_connections", "max_pending_requests", "max_requests")}
    cluster = {
        "name": "origins",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [limit]},
        "load_assignment": {
            "cluster_name": "origins",
            "endpoints": [{"lb_endpoints": [{"endpoint": address(p)} for p in origin_ports]}],
        },
    }
    resources = {"listeners": [listener], "clusters": [cluster]}
    return {"admin": address(admin), "static_resources": resources}
