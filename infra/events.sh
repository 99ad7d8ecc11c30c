# shellcheck shell=bash
# Part of infra/sam-local.sh and .ci/functions, beside a stack of .ci/with-stack: the events, and what comes of each.

# ask_each EVENT...: hands each to "ask FUNCTION EVENT", which prints the answer. Fails where the status of one is not
# the one in the event's name.
ask_each() {
    local event name function wanted got failures=0 answer=$BCRLAPI_STACK/answer log=$BCRLAPI_STACK/log
    for event in "$@"; do
        name=$(basename "$event" .json)
        IFS=- read -r function wanted _ <<<"$name"
        ask "$function" "$event" >"$answer" 2>"$log" || true
        got=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["statusCode"])' <"$answer" 2>>"$log") || got=none
        if [ "$got" = "$wanted" ]; then
            printf 'ok   %s  %s\n' "$got" "$name"
        else
            printf 'BAD  %s  %s\n' "$got" "$name"
            tail -n 20 "$log" "$answer" >&2
            failures=$((failures + 1))
        fi
    done
    [ $failures = 0 ]
}
