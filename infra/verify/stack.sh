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

# remove WHAT COMMAND...
remove() {
    local what=$1
    shift
    if "$@" >/dev/null 2>"$work/error"; then
        printf '  %s\n' "$what"
    else
        printf '  BAD  %s is still there: %s\n' "$what" "$(tail -n 1 "$work/error")"
        failures=$((failures + 1))
    fi
}

remove_role() {
    local policy
    local role=(--role-name "$1") attached inline
    attached=$(aws iam list-attached-role-policies "${role[@]}" --query 'AttachedPolicies[].PolicyArn' --output text)
    for policy in $attached; do aws iam detach-role-policy "${role[@]}" --policy-arn "$policy" || return 1; done
    inline=$(aws iam list-role-policies "${role[@]}" --query PolicyNames --output text)
    for policy in $inline; do aws iam delete-role-policy "${role[@]}" --policy-name "$policy" || return 1; done
    aws iam delete-role "${role[@]}"
}

remove_bucket() { aws s3 rm "s3://$1" --recursive --only-show-errors && aws s3api delete-bucket --bucket "$1"; }
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
    done <"$work/retained"
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
    [ ${#stacks[@]} = 0 ] || list_retained >"$work/retained"
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
