# shellcheck shell=bash disable=SC2154
# Part of infra/verify.sh: whose credentials it uses, what it does with them, and what comes of that.

step() { printf '\n%s\n' "$*"; }

# result WANTED GOT WHO WHAT
result() {
    local mark=ok
    checks=$((checks + 1))
    [ "$1" = "$2" ] || { mark=BAD failures=$((failures + 1)); }
    printf '  %-4s %-9s %-60s %s\n' "$mark" "$3" "$4" "$2$([ "$mark" = ok ] || echo ", not $1")"
}

# until_so SECONDS COMMAND...: tries until it succeeds.
until_so() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>"$work/last-error"; do
        [ $SECONDS -lt $end ] || { cat "$work/last-error" >&2; echo "gave up: $*" >&2; return 1; }
        sleep 1
    done
}

# as WHO COMMAND...: with that role's credentials and no others.
as() (
    # shellcheck disable=SC1090
    . "$work/keys.$1"
    unset AWS_PROFILE
    shift
    "$@"
)

# allow ACTION REST: a policy.
allow() { printf '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "%s", %s}]}' "$@"; }

# role WHO [POLICY_ARN...]: a role that this account may take, with these policies and nothing else.
role() {
    local who=$1 name=$stack-$1 policy
    shift
    roles+=("$name")
    aws iam create-role --role-name "$name" --description 'made by infra/verify.sh' \
        --assume-role-policy-document "$(allow sts:AssumeRole '"Principal": {"AWS": "'"$account"'"}')" >/dev/null
    for policy in "$@"; do aws iam attach-role-policy --role-name "$name" --policy-arn "$policy"; done
}

take_role() {
    local keys
    keys=$(aws sts assume-role --role-arn "arn:$partition:iam::$account:role/$stack-$1" --role-session-name verify \
        --query 'Credentials.[AccessKeyId, SecretAccessKey, SessionToken]' --output text) || return 1
    read -r id secret token <<<"$keys"
    printf 'export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_SESSION_TOKEN=%s\n' "$id" "$secret" "$token" \
        >"$work/keys.$1"
}

# copy_of WHO LOGICAL_ID: a role with the very policies of a function's role, which only Lambda may take.
copy_of() {
    local original policy
    original=$(resource "$2")
    role "$1"
    for policy in $(aws iam list-role-policies --role-name "$original" --query PolicyNames --output text); do
        aws iam get-role-policy --role-name "$original" --policy-name "$policy" --query PolicyDocument >"$work/policy"
        aws iam put-role-policy --role-name "$stack-$1" --policy-name "$policy" --policy-document "file://$work/policy"
    done
}

# call WHO METHOD PATH [CURL_ARGUMENT...]: prints the status; the body is in $work/body. "nobody" does not sign.
call() {
    local who=$1 method=$2 path=$3
    shift 3
    [ "$method" = GET ] || set -- -H 'content-type: application/json' "$@"
    [[ $method = GET || $* = *--data-binary* ]] || set -- --data-binary @examples/soc/request.json "$@"
    if [ "$who" != nobody ]; then
        # shellcheck disable=SC1090,SC2016
        (. "$work/keys.$who" && printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' \
            "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_SESSION_TOKEN") >"$work/curl"
        set -- --config "$work/curl" --aws-sigv4 "aws:amz:$region:execute-api" "$@"
    fi
    # Of an answer without a body curl writes no file.
    : >"$work/body"
    curl --silent --show-error --max-time 40 --request "$method" --output "$work/body" --write-out '%{http_code}' \
        "$@" "$BCRLAPI_URL$path"
}

# expect STATUS WHO METHOD PATH [CURL_ARGUMENT...]
expect() {
    local wanted=$1 got
    shift
    got=$(call "$@") || got='no answer'
    result "$wanted" "$got" "$1" "$2 ${3//$uuid/\{uuid\}}"
}

is_status() { [ "$(call "${@:2}")" = "$1" ]; }

# aws_says WHO COMMAND...: allowed, denied, or the error's code.
aws_says() {
    if as "$1" aws "${@:2}" >"$work/answer" 2>"$work/error"; then echo allowed; return; fi
    local code
    code=$(sed -n 's/.*An error occurred (\([^)]*\)).*/\1/p' "$work/error" | head -n 1)
    case $code in
    AccessDenied* | 403 | UnauthorizedOperation) echo denied ;;
    '') tail -n 1 "$work/error" ;;
    *) echo "$code" ;;
    esac
}

# may WHO COMMAND..., may_not WHO COMMAND...: of the AWS CLI.
may() { result allowed "$(aws_says "$@")" "$1" "$(shortened "${@:2}")"; }
may_not() { result denied "$(aws_says "$@")" "$1" "$(shortened "${@:2}")"; }
may_see_missing() { result NoSuchKey "$(aws_says "$@")" "$1" "$(shortened "${@:2}")"; }
shortened() {
    local words="$1 $2 ${*:3}"
    words=${words//--table-name /} words=${words//--function-name /} words=${words//--role-name /}
    words=${words//arn:$partition:iam::$account:/} words=${words//$work\//} words=${words//$uuid/\{uuid\}}
    words=${words//$table/TABLE} words=${words//$bucket/BUCKET} words=${words//$stack/STACK}
    echo "${words:0:60}"
}

client() { as client bcrlapi "$@" 2>>"$work/client.log"; }
outcome() { client --json status "$1" | field outcome; }
has_ended() { [ "$(client --json status "$1" | field status)" = 'done' ]; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# Nothing reaches it of what else the environment may hold.
run_agent() {
    local name environment=(PATH="$PATH" HOME="$work" AWS_EC2_METADATA_DISABLED=true AWS_REGION="$region")
    for name in AWS_{ACCESS_KEY_ID,SECRET_ACCESS_KEY,SESSION_TOKEN,ENDPOINT_URL} SSL_CERT_FILE {HTTPS,NO}_PROXY; do
        [ -z "${!name:-}" ] || environment+=("$name=${!name}")
    done
    exec env -i "${environment[@]}" bcrlapi-agent "${place[@]}" --poll 1s
}

start_agent() {
    # Not through "as": the process has to be the agent itself, to be stopped.
    # shellcheck disable=SC1091
    (. "$work/keys.agent" && run_agent) >>"$work/agent.log" 2>&1 &
    agent=$!
}

start_worker() {
    env -i PATH="$PATH" HOME="$work" bcrlapi-worker --shared "$shared" -- "$@" >>"$work/worker.log" 2>&1 &
    worker=$!
}

stop() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
