#!/usr/bin/env bash
# Submits a job, waits until it is done, writes its result: job.sh API INPUT_FILE RESULT_FILE
# Needs curl 7.84 or newer, and python3 to read JSON.
set -euo pipefail
api=$1 input=$2 result=$3

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# signed PATH [OPTION...]: puts the answer into $answer and prints its Retry-After. What may pass is tried again, after
# Retry-After where there is one.
signed() {
    local url=$BCRLAPI_URL$1
    shift
    curl --silent --show-error --fail-with-body --retry 9 --retry-all-errors --max-time 30 \
        --aws-sigv4 "aws:amz:$AWS_REGION:execute-api" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
        ${AWS_SESSION_TOKEN:+--header "x-amz-security-token: $AWS_SESSION_TOKEN"} \
        --output "$answer" --write-out '%header{retry-after}' "$@" "$url" || { cat "$answer" >&2; return 1; }
}
in_answer() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)" <"$answer"; }

# One key for the job: however often it is sent, it is one.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
pause=$(signed "/v1/apis/$api/jobs" --json @"$input" --header "idempotency-key: $key")
uuid=$(in_answer '["uuid"]')
echo "submitted $uuid" >&2

until [ "$(in_answer '["status"]')" = 'done' ]; do
    [ $SECONDS -lt 3600 ] || { echo "job $uuid is not done after an hour" >&2; exit 1; }
    sleep "${pause:-5}"
    pause=$(signed "/v1/jobs/$uuid")
done
signed "/v1/jobs/$uuid/result"
cp "$answer" "$result"

# curl signs a query as it is written: parameters have to be in alphabetical order.
signed "/v1/jobs?api=$api&limit=1&status=done"
echo "the latest that is done: $(in_answer '["jobs"][0]["uuid"]')" >&2
