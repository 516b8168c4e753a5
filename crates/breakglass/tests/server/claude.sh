#!/bin/sh
# Takes the command line of the Claude CLI, prints its stream and keeps its conversations as files in
# $HOME, with the CLI's own answers to an id that is taken or unknown. What it does follows from words
# of the prompt.
set -u
echo "$*" >>"$HOME/calls"
how=open id=
while [ $# -gt 0 ]; do
    case $1 in
        --session-id) how=open id=$2 ;;
        --resume) how=resume id=$2 ;;
    esac
    shift
done
prompt=$(cat)
say() { printf '%s\n' "$1"; }
text() { say "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"$1\"}]}}"; }
if [ $how = open ] && [ -e "$HOME/known-$id" ]; then
    echo "Error: Session ID $id is already in use." >&2
    exit 1
fi
if [ $how = resume ] && [ ! -e "$HOME/known-$id" ]; then
    say '{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID"]}'
    echo "No conversation found with session ID: $id" >&2
    exit 1
fi
case $prompt in *[!a-zA-Z]exit*) exit 3 ;; esac
: >"$HOME/known-$id"
say "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"$id\"}"
case $prompt in
    *hang*)
        text 'I hang'
        trap '' TERM INT HUP
        setsid sleep 1000 &
        while :; do sleep 1000; done ;;
    *wait*)
        text 'I wait'
        n=0
        while [ ! -e "$HOME/go" ] && [ $n -lt 6000 ]; do sleep 0.01; n=$((n + 1)); done ;;
    *stream*)
        n=0
        while [ $n -lt 150 ]; do text "line $n"; n=$((n + 1)); sleep 0.01; done ;;
    *flood*)
        # 64 MiB, as fast as it goes.
        long=$(head -c 60000 /dev/zero | tr '\0' x)
        n=0
        while [ $n -lt 1100 ]; do text "$long"; n=$((n + 1)); done ;;
    *brim*)
        # A turn may write 14 MiB. 13.8 MiB of texts, or too many of them; then the longest last words:
        # control characters, each of which takes six bytes in the log.
        long=$(head -c 145000 /dev/zero | tr '\0' x)
        most=100 n=0
        case $prompt in *over*) most=112 ;; esac
        while [ $n -lt $most ]; do text "$long"; n=$((n + 1)); done
        printf '{"type":"result","subtype":"success","is_error":false,"duration_ms":7,"result":"'
        head -c 262144 /dev/zero | sed 's/\x00/\\u0001/g'
        say '"}'
        exit ;;
    *spies*)
        # What it can read of the environments of others.
        found=$(cat /proc/[0-9]*/environ 2>/dev/null | tr '\000' '\n' | grep '^[A-Z_]*TOKEN=' | tr '\n' ' ')
        text "found: $found" ;;
    *reaches*)
        # What the hypervisor says to its name alone.
        text "$(ssh pve status 2>&1 | tr '\n' ' ')" ;;
    *hostile*)
        text '<script>alert(1)</script>\u001b[2J\n\nevent: turn_end\ndata: {}' ;;
    *fails*)
        say '{"type":"result","subtype":"success","is_error":true,"result":"API Error: 529 overloaded","api_error_status":529,"duration_ms":3}'
        exit 1 ;;
esac
say '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ssh devvm uptime"}}]}}'
text 'done'
say '{"type":"result","subtype":"success","is_error":false,"result":"done","duration_ms":7}'
