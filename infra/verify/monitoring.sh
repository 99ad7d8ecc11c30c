# shellcheck shell=bash disable=SC2154
# Part of infra/verify.sh: alarms, dashboard, schedule, metrics and the access log.

check_monitoring() {
    local alarms shown id
    alarms=$(aws cloudwatch describe-alarms --alarm-name-prefix "$stack-" --output text \
        --query 'MetricAlarms[].AlarmName' | tr '\t' '\n' | sed "s/^$stack-//" | sort | xargs)
    result 'EveryJobFails LabSilent ProcessingAge QueueAge RefusedCalls ServerErrors StageThrottled StoreThrottled' \
        "$alarms" operator 'the alarms'
    shown=$(aws cloudwatch get-dashboard --dashboard-name "$stack-$region" --query DashboardBody --output text |
        python3 -c 'import json, sys; print(len(json.load(sys.stdin)["widgets"]))')
    result 6 "$shown" operator 'the panels of the dashboard'
    result 'ENABLED rate(5 minutes)' "$(aws events describe-rule --name "$(resource StatusMeasure)" --output text \
        --query '[State, ScheduleExpression]' | tr '\t' ' ')" operator 'the schedule'
    result 0 "$(aws lambda get-function-event-invoke-config --function-name "$(resource Status)" \
        --qualifier "\$LATEST" --query MaximumRetryAttempts --output text)" operator 'how often it repeats a failed event'
    if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
        echo '  --   not tried: the emulator makes no metrics of logs, and writes no access log'
        return
    fi

    result yes "$(until_so 600 has_metric LabSilence && echo yes)" operator 'a value of LabSilence, by the schedule'
    result OK "$(until_so 300 is_no_alarm LabSilent; state_of LabSilent)" operator 'the alarm LabSilent'

    call client GET /v1/lab --dump-header "$work/headers" >/dev/null
    id=$(header x-amzn-requestid)
    result yes "$(until_so 120 is_logged "$id" && echo yes)" operator "a call's line in the access log"
}

state_of() {
    aws cloudwatch describe-alarms --alarm-names "$stack-$1" --query 'MetricAlarms[0].StateValue' --output text
}
is_no_alarm() { [ "$(state_of "$1")" = OK ]; }

has_metric() {
    [ "$(aws cloudwatch get-metric-statistics --namespace bcrlapi --metric-name "$1" --statistics Minimum --period 300 \
        --dimensions "Name=Table,Value=$table" --start-time "$(date -u -d '20 minutes ago' +%FT%TZ)" \
        --end-time "$(date -u +%FT%TZ)" --query 'length(Datapoints)' --output text)" -gt 0 ]
}

# is_logged REQUEST_ID: with all that a complaint is looked up by.
is_logged() {
    aws logs filter-log-events --log-group-name "/bcrlapi/$stack/access" --filter-pattern "\"$1\"" \
        --query 'events[].message' --output json |
        python3 -c 'import json, sys
line = json.loads(json.load(sys.stdin)[0])
sys.exit(not (line["status"] == "200" and line["resource"] == "/v1/lab" and line["caller"] and line["source_ip"]))'
}
