#!/usr/bin/env bash
# Proves a deployment before anybody depends on it: see --help.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'END'
Deploys the built template as a stack of its own, runs jobs through it with the agent and the worker, tries what must be
refused, prints what came of each, and removes everything that it made. Stacks that are there already stay as they are.

    sam build && cargo build --release --bins
    infra/verify.sh                                     # about 20 minutes, for a few cents
    infra/verify.sh -- Architecture=arm64               # more of the template's parameters

    --template FILE   the built template (.aws-sam/build/template.yaml)
    --from FILE       the built template of the version before: it is deployed first, and then upgraded
    --bin DIR         where bcrlapi, bcrlapi-agent and bcrlapi-worker are (target/release)
    --help            this

Credentials and region are those of the AWS CLI: of a user or a role that may make roles and policies, and take such
roles; AWS lets the account's root user take none. With AWS_ENDPOINT_URL it runs on an emulator.
Needs the AWS CLI, curl 7.84 or newer, and the python3 that has the SAM CLI. Exits with 0 if everything was as it has to
be, else 1.
END
}

template=.aws-sam/build/template.yaml from=
bin=target/release
while [ $# -gt 0 ]; do
    case $1 in
    --template) template=$2; shift 2 ;;
    --from) from=$2; shift 2 ;;
    --bin) bin=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    --) shift; break ;;
    *) usage >&2; exit 2 ;;
    esac
done
die() { printf '%s\n' "$*" >&2; exit 1; }
for file in "$template" ${from:+"$from"}; do [ -e "$file" ] || die "there is no $file; run: sam build"; done
# shellcheck source=infra/verify/architecture.sh
. infra/verify/architecture.sh
architecture=$(architecture "$@")
for command in aws curl python3; do command -v "$command" >/dev/null || die "this needs $command"; done
python3 -c 'import samtranslator' 2>/dev/null || die 'this needs the python3 that has the SAM CLI; activate its venv'
[[ $(curl --help all) == *--aws-sigv4* ]] || die 'this needs curl 7.84 or newer'
for name in bcrlapi bcrlapi-agent bcrlapi-worker; do
    [ -x "$bin/$name" ] || die "there is no $bin/$name; run: cargo build --release --bins"
done
PATH=$(cd "$bin" && pwd):$PATH
export AWS_PAGER='' AWS_MAX_ATTEMPTS=5
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[ -n "$region" ] || die 'there is no region; set AWS_REGION'
export AWS_REGION=$region AWS_DEFAULT_REGION=$region

identity=$(aws sts get-caller-identity --query '[Account, Arn]' --output text)
read -r account operator <<<"$identity"
partition=$(cut -d: -f2 <<<"$operator")
case $operator${AWS_ENDPOINT_URL:-} in *:root) die "AWS lets $operator take no role; use a user or a role" ;; esac
stack=bcrlapi-verify-$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
work=$(mktemp -d)
chmod 700 "$work"
shared=$work/shared
: >"$work/kept"
checks=0 failures=0 roles=() stacks=()
# shellcheck source=infra/verify/callers.sh
. infra/verify/callers.sh
# shellcheck source=infra/verify/stack.sh
. infra/verify/stack.sh
# shellcheck source=infra/verify/gateway.sh
. infra/verify/gateway.sh
# shellcheck source=infra/verify/monitoring.sh
. infra/verify/monitoring.sh

trap remove_everything EXIT
trap 'echo "Stopping." >&2; exit 1' INT TERM HUP

step "Made in account $account, $region${AWS_ENDPOINT_URL:+ at $AWS_ENDPOINT_URL}:"
location=()
[ "$region" = us-east-1 ] || location=(--create-bucket-configuration "LocationConstraint=$region")
# What is to be removed is noted before it is made: a signal may come between the two.
code=$stack-code
aws s3api create-bucket --bucket "$code" "${location[@]}" >/dev/null
# package BUILT_TEMPLATE: what it names on this computer goes into the bucket; prints the template that names that.
package() {
    aws cloudformation package --template-file "$1" --s3-bucket "$code" --output-template-file "$work/packaged.yaml" \
        >"$work/package.log" 2>&1 || die "$(cat "$work/package.log")"
    cat "$work/packaged.yaml"
}
package "$template" >"$work/template.yaml"
log_role=$(aws apigateway get-account --query cloudwatchRoleArn --output text)
# A stack that could not be made may leave the name of a role that is gone.
if aws iam get-role --role-name "${log_role##*/}" >/dev/null 2>&1; then log_role=existing; else log_role=create; fi
parameters=(AllowedApis=soc Monitoring=all "AccountLogRole=$log_role" "Architecture=$architecture" "$@")
deploy_main() { deploy "$stack" "$work/template.yaml" "${parameters[@]}" "$@"; }
if [ -z "$from" ]; then
    deploy_main
else
    package "$from" >"$work/from.yaml"
    # It may not know all of the parameters.
    deploy "$stack" "$work/from.yaml" AllowedApis=soc "AccountLogRole=$log_role" "Architecture=$architecture"
fi
for api in soc other; do
    deploy "$stack-client-$api" infra/client-policy.yaml Api=$api ApiArn="$(output "$stack" ApiArn)"
done
table=$(output "$stack" TableName)
bucket=$(output "$stack" BucketName)
place=(--shared "$shared" --table "$table" --bucket "$bucket")
set_url
uuid=01890000-0000-7000-8000-000000000000

echo '  a role for everybody who is to call it'
role client "$(output "$stack-client-soc" ClientPolicyArn)"
role other "$(output "$stack-client-other" ClientPolicyArn)"
role every "$(output "$stack" ClientPolicyArn)"
role stranger
role agent "$(output "$stack" AgentPolicyArn)"
role resync "$(output "$stack" AgentPolicyArn)" "$(output "$stack" ResyncPolicyArn)"
role keyless
aws iam put-role-policy --role-name "$stack-keyless" --policy-name keyless --policy-document "$(allow dynamodb:GetItem \
    '"Resource": "*", "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["none"]}}')"
copy_of submit SubmitRole
copy_of status StatusRole
copy_of result ResultRole
for name in "${roles[@]}"; do until_so 60 take_role "${name#"$stack-"}"; done
# New roles and policies take some seconds to count everywhere; what is refused before that proves nothing.
for who in client other every; do until_so 90 is_status 200 $who GET /v1/lab; done

if [ -n "$from" ]; then
    step 'An upgrade in place:'
    api=$(resource Api)
    uuid=$(client submit soc --input examples/soc/request.json)
    deploy_main
    result "$api" "$(resource Api)" operator "the API's id, before and after"
    until_so 120 is_status 200 client GET "/v1/jobs/$uuid"
    result pending "$(client --json status "$uuid" | field status)" client 'a job of before'
    client cancel "$uuid" >/dev/null
    for who in client other every; do until_so 90 is_status 200 $who GET /v1/jobs; done
fi

step 'A job, from the caller through the agent and the worker and back:'
mkdir "$shared"
checked=0
as agent bcrlapi-agent check "${place[@]}" >"$work/check" 2>&1 || checked=$?
result 0 $checked agent 'bcrlapi-agent check'
[ $checked -eq 0 ] || cat "$work/check"
start_agent
lab_is_online() { [ "$(client --json lab | field state)" = online ]; }
until_so 90 lab_is_online
result online "$(client --json lab | field state)" client "the lab, by the agent's heartbeat"
start_worker python3 examples/soc/main.py
uuid=$(client submit soc --input examples/soc/request.json)
client wait "$uuid" --timeout 2m >/dev/null
client result "$uuid" --output "$work/result.json"
same() { if cmp --silent "$1" "$2"; then echo same; else echo different; fi; }
result same "$(same "$work/result.json" "$shared/response/$uuid.json")" client "the result, and the lab's response file"

bad=$(echo '{"samples": "none"}' | client submit soc)
until_so 60 has_ended "$bad"
result failed "$(outcome "$bad")" client 'a job whose program fails'
uuid=$bad expect 422 client GET "/v1/jobs/$bad/result"
stop "$worker"
done_job=$uuid

unwanted=$(client submit soc --input examples/soc/request.json)
until_so 60 grep -q "$unwanted" "$shared/request/status.json"
client cancel "$unwanted" >/dev/null
until_so 60 has_ended "$unwanted"
result canceled "$(outcome "$unwanted")" client 'a job that is canceled in the lab'

# Larger than what a function may answer, and than what the agent uploads in one piece.
start_worker python3 -c 'import json, sys; json.dump(["0123456789abcde"] * 2**20, open(sys.argv[2], "w"))'
large=$(client submit soc --input examples/soc/request.json)
until_so 300 has_ended "$large"
stop "$worker"
etag=$(aws s3api head-object --bucket "$bucket" --key "response/$large.json" --query ETag --output text)
case $etag in *-[0-9]*) etag=parts ;; esac
result parts "$etag" agent 'the upload of a response of 20 MB'
uuid=$large expect 413 client GET "/v1/jobs/$large/result"
uuid=$large expect 200 client GET "/v1/jobs/$large/result/link"
curl --silent --show-error --output "$work/large.json" "$(field url <"$work/body")"
result same "$(same "$work/large.json" "$shared/response/$large.json")" client 'what its link leads to'

step 'The API, and who may not call it:'
expect 200 client GET /v1/openapi.json
for path in / /v1/lab /v1/openapi.json /v1/jobs "/v1/jobs/$uuid" "/v1/jobs/$uuid"/result{,/link}; do
    expect 403 nobody GET "$path"
done
for path in /v1/apis/soc/jobs "/v1/jobs/$uuid/cancel"; do expect 403 nobody POST "$path"; done
for who in stranger agent; do
    for path in /v1/lab "/v1/jobs/$uuid" "/v1/jobs/$uuid/result"; do expect 403 $who GET "$path"; done
    expect 403 $who POST /v1/apis/soc/jobs
done
expect 403 client POST /v1/apis/other/jobs
expect 403 other POST /v1/apis/soc/jobs
expect 404 every POST /v1/apis/other/jobs
# Its policy lets it call for any job; whose it is, the function looks up.
for path in "/v1/jobs/$uuid" "/v1/jobs/$uuid/result" "/v1/jobs/$uuid/result/link"; do expect 404 every GET "$path"; done
expect 404 every POST "/v1/jobs/$uuid/cancel"
sed "s/SECRET_ACCESS_KEY=./&x/" "$work/keys.client" >"$work/keys.forged"
sed "s/SESSION_TOKEN=./&x/" "$work/keys.client" >"$work/keys.badtoken"
for who in forged badtoken; do expect 403 $who GET /v1/lab; done

step "What the gateway answers itself, and what it hands on:"
check_gateway
step 'What watches it:'
check_monitoring
stop "$agent"

step 'What each role may do with the stores, and what not:'
job='{"pk":{"S":"job#'$uuid'"}}'
set_done=(--update-expression 'SET #s = :s' --expression-attribute-names '{"#s":"status"}'
    --expression-attribute-values '{":s":{"S":"done"}}')
get=(dynamodb get-item --table-name "$table" --key "$job")
put_job=(dynamodb put-item --table-name "$table" --item '{"pk":{"S":"job#none"}}')
put_lab=(dynamodb put-item --table-name "$table" --item '{"pk":{"S":"lab"}}')
update=(dynamodb update-item --table-name "$table" --key "$job" "${set_done[@]}")
delete=(dynamodb delete-item --table-name "$table" --key "$job")
scan=(dynamodb scan --table-name "$table")
get_request=(s3api get-object --bucket "$bucket" --key "request/$uuid.json" "$work/object")
get_response=(s3api get-object --bucket "$bucket" --key "response/$uuid.json" "$work/object")
put_request=(s3api put-object --bucket "$bucket" --key "request/$uuid.json")
put_response=(s3api put-object --bucket "$bucket" --key "response/$uuid.json")
drop_request=(s3api delete-object --bucket "$bucket" --key "request/$uuid.json")
drop_response=(s3api delete-object --bucket "$bucket" --key "response/$uuid.json")
function=$(resource Submit)
everything=arn:$partition:iam::aws:policy/AdministratorAccess

# Some policies tell rows of one kind from others. Whether the endpoint does is tried with one that names no row at all.
knows_rows=yes
[ "$(aws_says keyless "${get[@]}")" != allowed ] || knows_rows=no
may_not_by_row() {
    if [ $knows_rows = no ] && [ -n "${AWS_ENDPOINT_URL:-}" ]; then
        local why='not tried: the emulator knows no dynamodb:LeadingKeys'
        printf '  --   %-9s %-60s %s\n' "$1" "$(shortened "${@:2}")" "$why"
    else
        may_not "$@"
    fi
}

for who in client stranger; do
    may_not $who "${get[@]}"
    may_not $who "${scan[@]}"
    may_not $who "${get_response[@]}"
    may_not $who "${put_response[@]}"
    may_not $who lambda invoke --function-name "$function" "$work/object"
done

may submit "${get[@]}"
may status "${get[@]}"
may result "${get[@]}"
may result "${get_response[@]}"
may agent "${get[@]}"
may agent "${get_request[@]}"
may resync "${scan[@]}"
may resync "${get_response[@]}"

may_not_by_row submit "${put_lab[@]}"
may_not submit "${get_request[@]}"
may_not submit "${get_response[@]}"
may_not submit "${put_response[@]}"
for who in status result; do
    may_not $who "${put_job[@]}"
    may_not $who "${put_lab[@]}"
    may_not $who "${update[@]}"
    may_not $who "${get_request[@]}"
    may_not $who "${put_request[@]}"
    may_not $who "${put_response[@]}"
done
may_not status "${get_response[@]}"
may_not_by_row agent "${put_job[@]}"
may_not agent "${get_response[@]}"
may_not agent "${put_request[@]}"
for who in submit status result agent; do may_not $who "${scan[@]}"; done
for who in submit status result agent resync; do
    may_not $who "${delete[@]}"
    may_not $who "${drop_response[@]}"
    may_not $who dynamodb delete-table --table-name "$table"
    may_not $who s3api put-bucket-policy --bucket "$bucket" --policy '{}'
    may_not $who lambda update-function-code --function-name "$function" --s3-bucket "$code" --s3-key none
    may_not $who iam attach-role-policy --role-name "$stack-$who" --policy-arn "$everything"
done
for who in status result agent resync; do may_not $who "${drop_request[@]}"; done
# By this the function and the agent tell what is gone from what they may not read.
may_see_missing result s3api get-object --bucket "$bucket" --key response/none.json "$work/object"
may_see_missing agent s3api get-object --bucket "$bucket" --key request/none.json "$work/object"
for name in SubmitRole StatusRole ResultRole; do
    role_arn=arn:$partition:iam::$account:role/$(resource $name)
    may_not stranger sts assume-role --role-arn "$role_arn" --role-session-name verify
done

step 'The lab loses its shared directory:'
mv "$shared" "$work/lost"
mkdir "$shared"
as resync bcrlapi-agent resync "${place[@]}" >"$work/resync" 2>>"$work/agent.log"
result 'brought back: 3 requests, 2 responses, 3 entries of status.json' "$(head -n 1 "$work/resync")" resync \
    'bcrlapi-agent resync'
for name in "$done_job" "$large"; do
    brought=$(same "$work/lost/response/$name.json" "$shared/response/$name.json")
    result same "$brought" resync 'a response, before and after'
done

step 'Callers by their network, as for a move from an IP allow-list:'
deploy_main CallerAuth=IAM+CIDR AllowedCidrs=0.0.0.0/0
until_so 120 is_status 200 stranger GET /v1/lab
expect 200 stranger GET /v1/lab
expect 404 stranger GET "/v1/jobs/$uuid"
expect 403 nobody GET /v1/lab
deploy_main CallerAuth=IAM AllowedCidrs=192.0.2.0/24
until_so 120 is_status 403 client GET /v1/lab
expect 403 client GET /v1/lab
expect 403 stranger GET /v1/lab

step 'The stack is removed, and another imports its stores:'
remove_and_import
for name in "$done_job" "$large"; do uuid=$name expect 200 client GET "/v1/jobs/$name"; done
