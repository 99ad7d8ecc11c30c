#!/usr/bin/env bash
# Asks the functions, as `sam build` made them and in Lambda's own container, each event of events/: see --help.
set -euo pipefail

usage() {
    cat <<'END'
Runs `sam local invoke` with each event of events/, against the stores of bcrlapi-local, and compares the status of the
answer with the one in the event's name. Leaves nothing behind but the container's image.

    sam build
    infra/sam-local.sh                               # all of them, some 4 s each
    infra/sam-local.sh events/submit-202.json        # these

Needs Linux with Docker, the SAM CLI and Rust. Exits with 0 if every answer was as it has to be, else 1.
END
}

die() { printf '%s\n' "$*" >&2; exit 1; }
case ${1:-} in
-h | --help) usage; exit ;;
-*) usage >&2; exit 2 ;;
esac
events=()
for event in "$@"; do events+=("$(realpath -e "$event")"); done
cd "$(dirname "$0")/.."
[ ${#events[@]} -gt 0 ] || events=(events/*.json)

for command in cargo docker python3 sam; do command -v "$command" >/dev/null || die "this needs $command"; done
why=$(docker info 2>&1 >/dev/null) || die "Docker does not answer: ${why:-start it}"
[ -e .aws-sam/build/template.yaml ] || die 'nothing is built; run: sam build'
cargo build --quiet --bin bcrlapi-local

data=$(mktemp -d)
stack=
trap '[ -z "$stack" ] || { kill "$stack"; wait "$stack" || true; } 2>/dev/null; rm -rf "$data"' EXIT
trap 'exit 1' INT TERM
target/debug/bcrlapi-local up --no-agent --no-worker --port 0 --dir "$data" >"$data/up.log" 2>&1 &
stack=$!
until grep -qs BCRLAPI_SHARED "$data/env"; do
    kill -0 $stack 2>/dev/null || die "$(cat "$data/up.log")"
    sleep 0.1
done
# shellcheck disable=SC1091
. "$data/env"

failures=0
for event in "${events[@]}"; do
    name=$(basename "$event" .json)
    IFS=- read -r function wanted _ <<<"$name"
    # The container takes the stores' addresses, on loopback, for its own.
    sam local invoke "${function^}" --event "$event" --docker-network host >"$data/answer" 2>"$data/log" || true
    got=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["statusCode"])' <"$data/answer" 2>>"$data/log") ||
        got=none
    if [ "$got" = "$wanted" ]; then
        printf 'ok   %s  %s\n' "$got" "$name"
    else
        printf 'BAD  %s  %s\n' "$got" "$name"
        tail -n 20 "$data/log" "$data/answer" >&2
        failures=$((failures + 1))
    fi
done
[ $failures = 0 ]
