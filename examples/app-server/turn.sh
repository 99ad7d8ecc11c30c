#!/bin/sh
# One turn of the APP server, as turn.py: takes the first pending job, runs the main.py beside this script.
#
#     * * * * * /bin/sh /opt/lab/turn.sh
#
# Needs flock, setsid (util-linux) and one job a line in status.json, as the agent and turn.py write it.

shared=$(cd "${1:-/shared/bcrlapi}" && pwd) && here=$(cd "$(dirname "$0")" && pwd) || exit 1
status=$shared/request/status.json new_status=$shared/request/.status.json.turn
PATH=$PATH:/usr/local/bin:/usr/bin:/bin
export PATH LC_ALL=C PYTHONUTF8=1 PYTHONIOENCODING=utf-8 PYTHONUNBUFFERED=1
mark="\"turn\": \"$(uname -n) "

refuse() { echo "turn.sh: $1" >&2; exit 1; }

# UTF-8 on one line, without quotes and backslashes.
plain() { iconv -c -f UTF-8 -t UTF-8 | tr '"\\\n\r\t' "'/   " | tr -d '\000-\037'; }

failed() { printf '"status": "done", "outcome": "failed", "error": "%s"' "$1"; }

# Whether it is a whole queue with one job a line.
is_whole() {
    awk 'NR == 1 { bad = $0 != "{\"jobs\": [" }
         NR > 1 && !/^]/ && !/^  [{]"uuid": "[0-9a-f-]+", .*"status": "[a-z]+".*[}],?$/ { bad = 1 }
         /"uuid": ".*"uuid": "/ || /"status": ".*"status": "/ { bad = 1 }
         { last = $0 }
         END { exit bad || last !~ /^].*[}]$/ }' "$status"
}

# put_in_place STAGED FILE: by rename, and that on the disk: a power cut must not undo it.
put_in_place() {
    sync "$1" && mv "$1" "$2" || return 1
    sync "${2%/*}" 2>/dev/null || : # Some file systems refuse this for a folder.
}

# set_status UUID OLD NEW: where the job's status is OLD, writes NEW in its place. Nobody reads half a queue.
set_status() {
    entry="  {\"uuid\": \"$1\"" old="\"status\": \"$2\"(, \"progress\": [0-9]+, \"message\": \"[^\"]*\")?" new=$3 awk '
        index($0, ENVIRON["entry"]) == 1 && match($0, ENVIRON["old"]) {
            $0 = substr($0, 1, RSTART - 1) ENVIRON["new"] substr($0, RSTART + RLENGTH)
        }
        { print }' "$status" >"$new_status" && put_in_place "$new_status" "$status"
}

# Ends what an earlier turn on this machine has left: turns do not overlap, so it was killed.
end_leftovers() {
    for left in $(sed -n "s/^  {\"uuid\": \"\([^\"]*\)\".*\"status\": \"processing\".*$mark.*/\1/p" "$status"); do
        new='"status": "done"'
        [ -e "$shared/response/$left.json" ] ||
            new=$(failed 'the script was killed before it could end the job; submit it again')
        set_status "$left" processing "$new" || return 1
    done
}

# Sets the first pending job to processing, and prints its uuid.
claim() {
    first=$(sed -n 's/^  {"uuid": "\([^"]*\)".*"status": "pending".*/\1/p' "$status" | head -n 1)
    [ -z "$first" ] || { set_status "$first" pending "\"status\": \"processing\", $mark$$\"" && echo "$first"; }
}

# Does this under the lock, undisturbed. Tries for 10 s: somebody may be writing the queue, or the disk may be full.
locked() (
    trap '' TERM HUP INT
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        flock 9 && is_whole && "$@" && exit
        flock -u 9
        sleep 1
    done
    rm -f "$new_status"
    refuse "cannot change $status: it is half written, or not one job a line, or the disk is full"
) 9>>"$shared/request/.status.lock"

progress() {
    line=$(tail -c 4000 "$output" | sed -n 's/^progress 0*\([0-9][0-9]*\) *\(.*\)/\1 \2/p' | tail -n 1)
    [ "$line" != "$told" ] || return
    told=$line
    message=$(printf %s "${line#* }" | plain)
    locked set_status "$uuid" processing \
        "\"status\": \"processing\", \"progress\": ${line%% *}, \"message\": \"$message\""
}

# However this script ends, the job that it has taken ends.
finish() {
    trap '' TERM HUP INT
    new='"status": "done"'
    if [ -n "$reason" ]; then
        reason="$reason: $(tail -c 1800 "$output" | plain)"
        echo "turn.sh: $uuid: $reason" >&2
        new=$(failed "$reason")
    fi
    rm -f "$staged"
    locked set_status "$uuid" processing "$new" || exit 1
    rm -f "$output"
}

fail() { reason=$1; exit; }

for tool in awk flock iconv mktemp python3 setsid stat sync; do
    command -v $tool >/dev/null || refuse "there is no $tool"
done
[ -e "$here/main.py" ] || refuse "there is no $here/main.py"
# What is made here can be read and written by those who can use the folder.
umask "$(printf %o $((0777 & ~0$(stat -c %a "$shared/request"))))"
exec 8>>"$shared/request/.turn.lock"
flock -n 8 || exit 0
stopped=0
trap '[ $stopped -gt 0 ] || stopped=1' TERM HUP INT
output=$(mktemp) || exit 1
trap 'rm -f "$output"' EXIT
locked end_leftovers && locked claim >"$output" || exit 1
uuid=$(cat "$output")
[ -n "$uuid" ] || exit 0

request=$shared/request/$uuid.json response=$shared/response/$uuid.json staged=$shared/response/.$uuid.json.staged
reason='the script was stopped'
trap finish EXIT
[ $stopped = 0 ] || exit
: >"$output"
[ -e "$request" ] || fail "there is no request file $request"
cd "$here" || exit
LC_ALL=C.UTF-8 setsid python3 main.py "$request" "$staged" >"$output" 2>&1 </dev/null 8>&- &
program=$!
seconds=0 told=
while kill -0 $program 2>/dev/null; do
    [ $stopped != 1 ] || kill -s TERM -- -$program
    [ $stopped != 10 ] || kill -s KILL -- -$program
    [ $stopped = 0 ] || stopped=$((stopped + 1))
    seconds=$((seconds + 1))
    [ $((seconds % 5)) != 0 ] || progress
    sleep 1 8>&-
done
wait $program
code=$?
[ $stopped = 0 ] || exit
[ $code = 0 ] || fail "exit code $code"
[ -e "$staged" ] || fail 'the program wrote no response'
fault=$(python3 -c 'import json, sys
json.load(open(sys.argv[1], encoding="utf-8"), parse_constant=lambda word: sys.exit(word + " is not JSON"))' \
    "$staged" 2>&1) || case $fault in
        *RecursionError* | *MemoryError*) ;; # The agent reads more than Python does: 5 GiB, 10,000 levels deep.
        *) fail "the response is not JSON: $(printf %s "$fault" | tail -n 1 | plain)" ;;
    esac
put_in_place "$staged" "$response" || fail 'the response could not be put in its place'
reason=
