# shellcheck shell=bash disable=SC2154
# Part of infra/verify.sh: its stacks, and how everything that it made is removed, whatever becomes of it.

resource() {
    aws cloudformation describe-stack-resource --stack-name "$stack" --logical-resource-id "$1" \
        --query StackResourceDetail.PhysicalResourceId --output text
}

output() {
    aws cloudformation describe-stacks --stack-name "$1" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue"
}

# deploy STACK TEMPLATE PARAMETER=VALUE...
deploy() {
    local since=$SECONDS
    [[ " ${stacks[*]} " == *" $1 "* ]] || stacks=("$1" "${stacks[@]}")
    aws cloudformation deploy --stack-name "$1" --template-file "$2" --s3-bucket "$code" --no-fail-on-empty-changeset \
        --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --parameter-overrides "${@:3}" >"$work/deploy.log" 2>&1 &&
        printf '  stack %s, %s s\n' "$1" $((SECONDS - since)) && return
    cat "$work/deploy.log" >&2
    aws cloudformation describe-stack-events --stack-name "$1" --output text --query \
        "StackEvents[?ends_with(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]" >&2
    die 'the stack could not be made'
}

# Where the stack's API is.
set_url() {
    local host
    BCRLAPI_URL=$(output "$stack" ApiUrl)
    if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
        # Emulators have the API at this path of their one address.
        host=${BCRLAPI_URL#https://}
        BCRLAPI_URL=$AWS_ENDPOINT_URL/restapis/${host%%.*}/${host##*/}/_user_request_
    fi
    export BCRLAPI_URL
}

# remove WHAT COMMAND...: what was noted and then not made is not there, and needs no removing.
remove() {
    local what=$1
    shift
    if "$@" >/dev/null 2>"$work/error"; then
        printf '  %s\n' "$what"
    elif ! grep -qE '\((NoSuchEntity|NoSuchBucket|ResourceNotFoundException)\)' "$work/error"; then
        printf '  BAD  %s is still there: %s\n' "$what" "$(tail -n 1 "$work/error")"
        failures=$((failures + 1))
    fi
}

remove_role() {
    local policy
    local role=(--role-name "$1") attached inline
    attached=$(aws iam list-attached-role-policies "${role[@]}" --query 'AttachedPolicies[].PolicyArn' --output text) ||
        return 1
    for policy in $attached; do aws iam detach-role-policy "${role[@]}" --policy-arn "$policy" || return 1; done
    inline=$(aws iam list-role-policies "${role[@]}" --query PolicyNames --output text) || return 1
    for policy in $inline; do aws iam delete-role-policy "${role[@]}" --policy-name "$policy" || return 1; done
    aws iam delete-role "${role[@]}"
}

# With older versions and marks of removal, which a bucket of the template keeps for a day.
remove_bucket() {
    local some
    aws s3api list-object-versions --bucket "$1" --output json \
        --query '[Versions, DeleteMarkers][][].{Key: Key, VersionId: VersionId}' >"$work/versions.json" || return 1
    # DeleteObjects takes 1,000.
    python3 - "$work/versions.json" >"$work/removals" <<'END'
import json, sys

versions = json.load(open(sys.argv[1], encoding="utf-8")) or []
for first in range(0, len(versions), 500):
    print(json.dumps({"Objects": versions[first : first + 500], "Quiet": True}))
END
    while read -r some; do aws s3api delete-objects --bucket "$1" --delete "$some" || return 1; done <"$work/removals"
    aws s3api delete-bucket --bucket "$1"
}
remove_table() {
    aws dynamodb update-table --table-name "$1" --no-deletion-protection-enabled &&
        until_so 60 aws dynamodb delete-table --table-name "$1" && aws dynamodb wait table-not-exists --table-name "$1"
}
remove_stack() {
    aws cloudformation delete-stack --stack-name "$1" && aws cloudformation wait stack-delete-complete --stack-name "$1"
}
# Only where this run has set it: API Gateway's role for logs, which the template leaves in the account.
remove_log_role() {
    aws apigateway update-account --patch-operations op=replace,path=/cloudwatchRoleArn,value= && remove_role "$1"
}

# What the template keeps when its stack is removed. While a stack is being made or changed, it does not show all of it.
list_retained() {
    local status
    status=$(aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' --output text)
    case $status in
    CREATE_IN_PROGRESS) aws cloudformation wait stack-create-complete --stack-name "$stack" ;;
    ROLLBACK_IN_PROGRESS) aws cloudformation wait stack-rollback-complete --stack-name "$stack" ;;
    IMPORT_*IN_PROGRESS) aws cloudformation wait stack-import-complete --stack-name "$stack" ;;
    DELETE_IN_PROGRESS) aws cloudformation wait stack-delete-complete --stack-name "$stack" ;;
    UPDATE_*IN_PROGRESS) aws cloudformation wait stack-update-complete --stack-name "$stack" ;;
    esac
    aws cloudformation list-stack-resources --stack-name "$stack" --output text --query "StackResourceSummaries[?
        PhysicalResourceId && ResourceStatus!='DELETE_COMPLETE'].[ResourceType, PhysicalResourceId, LogicalResourceId]"
}

remove_retained() {
    local kind id what
    while read -r kind id what; do
        case $kind/$what in
        AWS::DynamoDB::Table/*) remove "table $id" remove_table "$id" ;;
        AWS::S3::Bucket/*) remove "bucket $id" remove_bucket "$id" ;;
        */AccountLogRoleForApiGateway) remove "role $id, and API Gateway's use of it for logs" remove_log_role "$id" ;;
        esac
    done < <(sort -u "$work/retained" "$work/kept")
}

remove_everything() {
    local status=$? what
    trap - EXIT
    # Half of it removed would be found by nobody.
    trap '' INT TERM HUP
    set +e
    stop "${agent:-}"
    stop "${worker:-}"
    if [ $status -ne 0 ]; then tail -n 20 "$work"/{client,agent,worker}.log >&2 2>/dev/null; fi
    step 'Removed (Ctrl-C waits for it):'
    if [ ${#stacks[@]} -gt 0 ] && ! list_retained >"$work/retained" 2>"$work/error"; then
        # A stack that was noted and then not made keeps nothing.
        if ! grep -q 'does not exist' "$work/error"; then
            printf '  BAD  what stack %s keeps is not known: %s\n' "$stack" "$(tail -n 1 "$work/error")"
            failures=$((failures + 1))
        fi
    fi
    for what in "${roles[@]}"; do remove "role $what" remove_role "$what"; done
    for what in "${stacks[@]}"; do remove "stack $what" remove_stack "$what"; done
    [ ${#stacks[@]} = 0 ] || remove_retained
    [ -z "${code:-}" ] || remove "bucket $code" remove_bucket "$code"
    rm -rf "$work"
    if [ $failures -gt 0 ]; then
        printf '\n%s of the above are BAD\n' "$failures"
    elif [ $status -eq 0 ]; then
        printf '\nEverything was as it has to be: %s checks, %s s\n' $checks $SECONDS
    fi
    [ $status -eq 0 ] && [ $failures -eq 0 ]
    exit
}

# As docs/operations.md has it. The stack is not removed while roles have its policies. When those are detached it is,
# without its stores, and a new stack imports them.
remove_and_import() {
    local who
    # From here on until it is imported, no stack names what is kept.
    list_retained >"$work/kept"
    if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
        echo '  --   not tried: the emulator removes policies that somebody has'
    else
        aws cloudformation delete-stack --stack-name "$stack"
        aws cloudformation wait stack-delete-complete --stack-name "$stack" 2>/dev/null || true
        result DELETE_FAILED "$(aws cloudformation describe-stacks --stack-name "$stack" --output text \
            --query 'Stacks[0].StackStatus')" operator 'delete-stack, while roles have its policies'
    fi
    for who in every agent resync; do detach_all "$stack-$who"; done
    remove_stack "$stack"
    result protected "$(aws dynamodb describe-table --table-name "$table" --output text \
        --query 'Table.DeletionProtectionEnabled' | sed s/True/protected/)" operator 'the table, without its stack'

    import_stores
    parameters=("${parameters[@]/AccountLogRole=create/AccountLogRole=existing}")
    deploy_main
    result "$table $bucket" "$(resource Table) $(resource Bucket)" operator 'the stores of the new stack'
    for who in soc other; do
        deploy "$stack-client-$who" infra/client-policy.yaml Api=$who ApiArn="$(output "$stack" ApiArn)"
    done
    set_url
    until_so 120 is_status 200 client GET /v1/lab
}

detach_all() {
    local policy
    for policy in $(aws iam list-attached-role-policies --role-name "$1" --query 'AttachedPolicies[].PolicyArn' \
        --output text); do
        aws iam detach-role-policy --role-name "$1" --policy-arn "$policy"
    done
}

import_stores() {
    local set=(--stack-name "$stack" --change-set-name import)
    python3 infra/stores.py >"$work/stores.json"
    aws cloudformation create-change-set "${set[@]}" --change-set-type IMPORT \
        --template-body "file://$work/stores.json" --resources-to-import "[
            {\"ResourceType\": \"AWS::DynamoDB::Table\", \"LogicalResourceId\": \"Table\",
             \"ResourceIdentifier\": {\"TableName\": \"$table\"}},
            {\"ResourceType\": \"AWS::S3::Bucket\", \"LogicalResourceId\": \"Bucket\",
             \"ResourceIdentifier\": {\"BucketName\": \"$bucket\"}}]" >/dev/null
    aws cloudformation wait change-set-create-complete "${set[@]}"
    aws cloudformation execute-change-set "${set[@]}"
    aws cloudformation wait stack-import-complete --stack-name "$stack"
}
