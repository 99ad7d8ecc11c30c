#!/usr/bin/env bash
# Asks the functions, as `sam build` made them and in Lambda's own container, each event of events/: see --help.
set -euo pipefail

usage() {
    cat <<'END'
Runs `sam local invoke` with each event of events/, against the stores of bcrlapi-local, and compares the status of the
answer with the one in the event's name. Leaves nothing behind but the container's image.

    sam build
    infra/sam-local.sh                               # all of them, about 4 s each
    infra/sam-local.sh events/submit-202.json        # these
    infra/sam-local.sh -- --skip-pull-image          # more options of `sam local invoke`

    --template FILE   the built template (.aws-sam/build/template.yaml)
    --help            this

Needs Linux with Docker, the SAM CLI and Rust. Exits with 0 if every answer was as it has to be, else 1.
END
}

die() { printf '%s\n' "$*" >&2; exit 1; }
template=.aws-sam/build/template.yaml
events=()
while [ $# -gt 0 ]; do
    case $1 in
    --template) template=$(realpath -e "$2"); shift 2 ;;
    --help | -h) usage; exit ;;
    --) shift; break ;;
    -*) usage >&2; exit 2 ;;
    *) events+=("$(realpath -e "$1")"); shift ;;
    esac
done
cd "$(dirname "$0")/.."
[ ${#events[@]} -gt 0 ] || events=(events/*.json)

for command in cargo docker ip python3 sam; do command -v "$command" >/dev/null || die "this needs $command"; done
why=$(docker info 2>&1 >/dev/null) || die "Docker does not answer: ${why:-start it}"
[ -e "$template" ] || die "there is no $template; run: sam build"

# Loopback is the container's own there; at the address of its bridge it reaches this computer.
address_of_bridge() {
    local bridge
    bridge=$(docker network inspect bridge --format '{{index .Options "com.docker.network.bridge.name"}}')
    ip -4 -oneline address show "$bridge" | sed -n 's,.* inet \([0-9.]*\)/.*,\1,p'
}
if [ -z "${BCRLAPI_STACK:-}" ]; then
    address=$(address_of_bridge)
    [ -n "$address" ] || die "Docker's network \"bridge\" has no address on this computer, so no container reaches it"
    exec .ci/with-stack --no-agent --no-worker "--listen=$address" \
        infra/sam-local.sh --template "$template" "${events[@]}" -- "$@"
fi

options=(--template-file "$template" --config-file "$PWD/samconfig.toml" "$@")
ask() { sam local invoke "${1^}" --event "$2" "${options[@]}"; }
# shellcheck source=infra/events.sh
. infra/events.sh
ask_each "${events[@]}"
