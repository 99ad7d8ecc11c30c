#!/usr/bin/env bash
# Submits a job, waits until it is done, writes its result: job.sh API INPUT_FILE RESULT_FILE
# Needs curl 7.84 or newer, and python3 to read JSON.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 API INPUT_FILE RESULT_FILE" >&2; exit 2; }
api=$1 input=$2 result=$3
: "${BCRLAPI_URL:?is not set}" "${AWS_REGION:?is not set}"
: "${AWS_ACCESS_KEY_ID:?is not set}" "${AWS_SECRET_ACCESS_KEY:?is not set}"

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# signed PATH [OPTION...]: puts the answer into $answer and its Retry-After into $pause. Tries again what may pass, and
# nothing else: curl's --retry knows no broken connection, and its --retry-all-errors repeats mistakes.
signed() {
    local url=$BCRLAPI_URL$1 try told status
    shift
    for try in {1..10}; do
        told=$(curl --silent --show-error --max-time 30 \
            --aws-sigv4 "aws:amz:$AWS_REGION:execute-api" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
            ${AWS_SESSION_TOKEN:+--header "x-amz-security-token: $AWS_SESSION_TOKEN"} \
            --output "$answer" --write-out '%{http_code} %header{retry-after}' "$@" "$url") || told=broken
        read -r status pause <<<"$told"
        case $status in
            2??) return ;;
            broken | 429 | 502 | 503 | 504) sleep "${pause:-5}" ;;
            *) break ;;
        esac
    done
    echo "$url: $status after $try tries: $(cat "$answer")" >&2
    return 1
}
in_answer() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)" <"$answer"; }

# One key for the job: however often it is sent, it is one.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
signed "/v1/apis/$api/jobs" --json @"$input" --header "idempotency-key: $key"
uuid=$(in_answer '["uuid"]')
echo "submitted $uuid" >&2

until [ "$(in_answer '["status"]')" = 'done' ]; do
    [ $SECONDS -lt 3600 ] || { echo "job $uuid is not done after an hour" >&2; exit 1; }
    sleep "${pause:-5}"
    signed "/v1/jobs/$uuid"
done
signed "/v1/jobs/$uuid/result"
cp "$answer" "$result"

# curl signs a query as it is written: parameters have to be in alphabetical order.
signed "/v1/jobs?api=$api&limit=1&status=done"
echo "the latest that is done: $(in_answer '["jobs"][0]["uuid"]')" >&2
