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
[ -n "${BCRLAPI_STACK:-}" ] || exec .ci/with-stack --no-agent --no-worker infra/sam-local.sh "${events[@]}"

# The container takes the stores' addresses, on loopback, for its own.
ask() { sam local invoke "${1^}" --event "$2" --docker-network host; }
# shellcheck source=infra/events.sh
. infra/events.sh
ask_each "${events[@]}"
