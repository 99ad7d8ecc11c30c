#!/usr/bin/env bash
# Submits a job, waits until it is done, writes its result: job.sh API INPUT_FILE RESULT_FILE
# Needs curl 7.84 or newer, and python3 to read JSON.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 API INPUT_FILE RESULT_FILE" >&2; exit 2; }
api=$1 input=$2 result=$3
[ -r "$input" ] || { echo "$0: cannot read $input" >&2; exit 2; }
: "${BCRLAPI_URL:?is not set}" "${AWS_REGION:?is not set}"
: "${AWS_ACCESS_KEY_ID:?is not set}" "${AWS_SECRET_ACCESS_KEY:?is not set}"
wait_max_s=3600
# Where an answer does not say when to come back, or there is none.
retry_after_s=5
# Whatever an answer says: no busy loop, and no sleep over a clock that is wrong.
retry_after_min_s=1
retry_after_max_s=60

answer=$(mktemp)
# In a file that is ours alone: what stands in a command line, everybody on this computer can read.
token=$(mktemp)
printf 'x-amz-security-token: %s\n' "${AWS_SESSION_TOKEN-}" >"$token"
part=
trap 'rm -f "$answer" "$token" ${part:+"$part"}' EXIT

# not_the_apis REASON: something in between has given this answer.
not_the_apis() {
    echo "$url: $status, $1. Check BCRLAPI_URL, and whether a proxy or a login page stands in between" >&2
    exit 1
}

# pause_of VALUE: how many seconds to wait. Retry-After has seconds or a date (RFC 9110), from a proxy also anything
# else. A date that is past says nothing, and so does NaN.
pause_of() {
    python3 - "$1" $retry_after_s $retry_after_min_s $retry_after_max_s <<'END'
import email.utils, sys, time

text, otherwise, least, most = sys.argv[1], *map(int, sys.argv[2:])
try:
    seconds = float(text)
except ValueError:
    try:
        seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        seconds = otherwise
print(min(max(seconds, least), most) if seconds >= 0 else otherwise)
END
}

# signed PATH [OPTION...]: puts the answer into $answer, its Retry-After into $pause and its digest into $digest. Tries
# again what may pass, and nothing else: curl's --retry knows no broken connection, and its --retry-all-errors repeats
# mistakes. Follows no redirect, whatever ~/.curlrc has: it would take token and body to another host.
signed() {
    url=$BCRLAPI_URL$1
    shift
    local try told type redirect
    local show='%{http_code}\n%header{retry-after}\n%{content_type}\n%{redirect_url}\n%header{content-digest}\n.'
    for try in {1..10}; do
        if told=$(curl --silent --show-error --max-time 30 --no-location \
            --aws-sigv4 "aws:amz:$AWS_REGION:execute-api" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
            ${AWS_SESSION_TOKEN:+--header @"$token"} \
            --output "$answer" --write-out "$show" "$@" "$url"); then
            { read -r status; read -r pause; read -r type; read -r redirect; read -r digest; } <<<"$told"
        else
            status=broken pause='' type='' redirect='' digest=''
            : >"$answer"
        fi
        pause=$(pause_of "$pause")
        case $status in
            2??) break ;;
            3??) not_the_apis "a redirect to ${redirect:-nowhere}: the API sends none, so it is not followed" ;;
            broken | 429 | 502 | 503 | 504) [ "$try" = 10 ] || sleep "$pause" ;;
            *) break ;;
        esac
    done
    case $status:$type in
        2??:[Aa]pplication/[Jj][Ss][Oo][Nn]*)
            [ -s "$answer" ] || not_the_apis 'but the answer is empty'
            return
            ;;
        2??:*) not_the_apis "but the answer is declared as ${type:-nothing}, not as JSON" ;;
    esac
    [ $status != broken ] || status='no answer'
    echo "$url: $status (try $try): $(head -c 500 "$answer")" >&2
    exit 1
}

# in_answer NAME...: what stands there.
in_answer() {
    python3 - "$answer" "$@" <<'END' || not_the_apis "but the answer is not JSON, or not all of it, or has no $1"
import json, sys

try:
    with open(sys.argv[1], "rb") as file:
        value = json.load(file)
    for name in sys.argv[2:]:
        value = value[int(name) if name.isdigit() else name]
except (ValueError, LookupError, TypeError):
    sys.exit(1)
print(value)
END
}

# Whether the answer is the one of its Content-Digest (RFC 9530). Digests of other algorithms may stand beside ours;
# without ours, nothing would be checked.
is_intact() {
    python3 - "$answer" "$digest" <<'END'
import base64, hashlib, sys

with open(sys.argv[1], "rb") as file:
    digest = base64.b64encode(hashlib.sha256(file.read()).digest()).decode()
named = [one.strip().partition("=") for one in sys.argv[2].split(",")]
sys.exit(("sha-256", f":{digest}:") not in [(name.lower(), value) for name, _, value in named])
END
}

# One key for the job: however often it is sent, it is one.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
signed "/v1/apis/$api/jobs" --json @"$input" --header "idempotency-key: $key"
uuid=$(in_answer uuid)
echo "submitted $uuid" >&2

# In a condition of its own a failure would be none.
state=$(in_answer status)
until [ "$state" = 'done' ]; do
    if [ $SECONDS -ge $wait_max_s ]; then
        echo "job $uuid is not done after $wait_max_s s. It goes on, and its result is kept for a week: do not" \
            "submit it again, GET /v1/jobs/$uuid later, and /v1/jobs/$uuid/result when it is done" >&2
        exit 1
    fi
    sleep "$pause"
    signed "/v1/jobs/$uuid"
    state=$(in_answer status)
done
signed "/v1/jobs/$uuid/result"
is_intact || not_the_apis "but the result is not the one of its Content-Digest (${digest:-missing})"

# Aside first, so that what stands there already is replaced by a whole result or not at all. A pipe or a terminal has
# nothing to lose.
if [ -e "$result" ] && [ ! -f "$result" ]; then
    cat "$answer" >"$result"
else
    target=$(realpath "$result")
    part=$target.$uuid.part
    cp "$answer" "$part"
    mv "$part" "$target"
fi

# curl signs a query as it is written: parameters have to be in alphabetical order.
signed "/v1/jobs?api=$api&limit=1&status=done"
echo "the latest that is done: $(in_answer jobs 0 uuid)" >&2
