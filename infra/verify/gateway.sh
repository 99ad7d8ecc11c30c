# shellcheck shell=bash disable=SC2154
# Part of infra/verify.sh: what callers get from API Gateway itself, and what it may not change of the answers of the
# functions.

# header NAME: of the answer to the last call.
header() { sed -n "s/^$1: *//Ip" "$work/headers" | tr -d '\r' | tail -n 1; }

# expect_problem STATUS CODE WHO METHOD PATH [CURL_ARGUMENT...]: an answer in the form of infra/openapi.yaml.
expect_problem() {
    local wanted=$1 code=$2 retry_after=- got
    shift 2
    got=$(call "$@" --dump-header "$work/headers") || got='no answer'
    [ "$wanted" != 503 ] || retry_after=5
    got+=" $(header x-amzn-errortype) $(header content-type) $(header cache-control)"
    got+=" $(header retry-after | grep . || echo -)"
    result "$wanted $code application/problem+json no-store $retry_after" "$got" "$1" "$2 ${3//$uuid/\{uuid\}}"
    result "$code $wanted" "$(problem_in "$work/body")" "$1" '  its body'
}

problem_in() {
    python3 - "$1" <<'END'
import json, sys

try:
    problem = json.load(open(sys.argv[1], encoding="utf-8"))
    complete = all(problem[name] for name in ("title", "detail", "instance", "message"))
    print(problem["type"].rsplit("/", 1)[1] if complete else "incomplete", problem["status"])
except (ValueError, KeyError, OSError) as error:
    print("no problem:", repr(error))
END
}

# json_of BYTES: a file with a JSON text of this size.
json_of() {
    python3 -c 'import sys; print(end="\"" + "x" * (int(sys.argv[1]) - 2) + "\"")' "$1" >"$work/json"
    echo "$work/json"
}

check_gateway() {
    local etag large
    if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
        echo '  --   not tried: the emulator words its own answers differently, and has no limits of size'
    else
        expect_problem 403 forbidden nobody GET /v1/lab
        expect_problem 403 forbidden stranger GET /v1/lab
        expect_problem 403 forbidden forged GET /v1/lab
        expect_problem 413 request-too-large client POST /v1/apis/soc/jobs --data-binary "@$(json_of 11000000)"
        # Within the gateway's 10 MB, and beyond what a function can be handed.
        expect_problem 413 request-too-large client POST /v1/apis/soc/jobs --data-binary "@$(json_of 9000000)"
    fi
    large=$((4 * 1024 * 1024))
    expect 202 client POST /v1/apis/soc/jobs --data-binary "@$(json_of $large)"
    client cancel "$(field uuid <"$work/body")" >/dev/null
    expect_problem 413 request-too-large client POST /v1/apis/soc/jobs --data-binary "@$(json_of $((large + 1)))"

    call client GET "/v1/jobs/$done_job" --dump-header "$work/headers" >/dev/null
    etag=$(header etag)
    uuid=$done_job expect 304 client GET "/v1/jobs/$done_job" -H "if-none-match: $etag"
    result 0 "$(stat -c %s "$work/body")" client '  its body, in bytes'
    uuid=$done_job expect 304 client GET "/v1/jobs/$done_job/result" -H "if-none-match: $(result_etag)"
}

result_etag() {
    call client GET "/v1/jobs/$done_job/result" --dump-header "$work/headers" >/dev/null
    header etag
}
