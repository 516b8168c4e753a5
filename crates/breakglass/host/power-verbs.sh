#!/bin/sh
# Power verbs for exactly one VM, as the forced command of one SSH key on its Proxmox host.
#
# Install:  install -m 755 power-verbs.sh /usr/local/sbin/power-verbs
# then one line in root's authorized_keys, with your VM's number:
#   command="/usr/local/sbin/power-verbs 102",restrict ssh-ed25519 AAAA... breakglass
#
# The key can do what the list below says and nothing else: no shell, no other VM, no other word.
# Before anything that changes the VM its state is recorded below $KEPT, or below $RUN if that cannot be
# written: a full disk stops no verb. A verb that changes the VM runs detached, so that a dropped
# connection never leaves it stopped between stop and start. VERB --skiplock passes over a lock of the
# VM only if that verb was refused because of that very lock within the last ten minutes.
# Exit codes: 64 refused, 75 another verb is under way, 77 the VM is locked, else qm's own.

set -u
umask 077
VM=${1:?usage: power-verbs VM}
PATH=${POWER_VERBS_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
KEPT=${POWER_VERBS_DIR:-/var/log/power-verbs}
RUN=${POWER_VERBS_RUN:-/run/power-verbs} # in memory: the lock, and records that the disk does not take
QEMU=${POWER_VERBS_QEMU:-/var/run/qemu-server}
APART=${POWER_VERBS_APART:-2} # seconds between two samples
QMP_BOUND=${POWER_VERBS_QMP_BOUND:-8}
QMP_WAIT=${POWER_VERBS_QMP_WAIT:-10} # seconds for those before us: longer than one of them may take
said=$RUN/$VM.qmp-said
export PATH
case $VM in '' | *[!0-9]*) echo "power-verbs: '$VM' is not the number of a VM" >&2; exit 64 ;; esac

skip=
case ${SSH_ORIGINAL_COMMAND-} in
    status | forensics | start | stop | reset | cycle) verb=$SSH_ORIGINAL_COMMAND ;;
    'start --skiplock' | 'stop --skiplock' | 'reset --skiplock' | 'cycle --skiplock')
        verb=${SSH_ORIGINAL_COMMAND% *} skip=--skiplock ;;
    *) echo 'refused: status, forensics, start, stop, reset or cycle' >&2; exit 64 ;;
esac

# Whether records can be written there. A probe of some size shows a full disk, too; it is random,
# because a file system may compress zeros to nothing.
takes_records() {
    mkdir -p "$1" && head -c 1048576 /dev/urandom >"$1/probe-$$"; taken=$?
    rm -f "$1/probe-$$"
    return "$taken"
}

mkdir -p "$RUN" || exit 1
records=$KEPT
if ! takes_records "$KEPT" 2>/dev/null; then
    records=$RUN
    echo "$KEPT is full or cannot be written: records go to $RUN, which a reboot empties" >&2
fi
run=$records/$(date -u +%Y%m%dT%H%M%SZ)-$VM-$verb-$$

# The lock must not reach the QEMU process that `qm start` leaves behind: hence 9>&-.
bounded() { seconds=$1; shift; timeout -k 5 "$seconds" "$@" 9>&- </dev/null; }

# QEMU's monitor serves one client at a time, and lets others wait without a word. So verbs take turns,
# and a command is sent when the one before it was answered: otherwise a pause could be over before the
# monitor is ours. A QEMU that hangs answers none.
# Exit codes: 127 without socat, 75 if another verb has QMP, else socat's own.
qmp() (
    command -v socat >/dev/null || { echo 'socat is missing on this host' >&2; exit 127; }
    exec 8>"$RUN/$VM.qmp"
    flock -w "$QMP_WAIT" 8 || { echo 'another verb has QMP' >&2; exit 75; }
    # shellcheck disable=SC2030 # for `answered` alone
    expected=1 # the greeting
    : >"$said"
    : >"$said.open"
    {
        for command in qmp_capabilities "$@"; do
            answered || break
            case $command in
                pause) sleep "$APART" ;;
                *) printf '{"execute":"%s"}\n' "$command"; expected=$((expected + 1)) ;;
            esac
        done
        answered
    } | {
        timeout -k 1 "$QMP_BOUND" socat -t 1 - "UNIX-CONNECT:$QEMU/$VM.qmp" >"$said" 9>&-; code=$?
        rm -f "$said.open"
        exit "$code"
    }
    code=$?
    cat "$said"
    rm -f "$said"
    exit "$code"
)

# Waits for all answers so far, as long as there is somebody to give them.
# shellcheck disable=SC2031 # it is called where that is set
answered() {
    until [ "$(grep -cE '^\{ *"(QMP|return|error)"' "$said")" -ge "$expected" ]; do
        [ -e "$said.open" ] || return 1
        sleep 0.05
    done
}

# What state QEMU itself tells, in $told; if it tells none, $unasked says why it was not asked, or
# nothing if it was.
ask_qemu() {
    told=$(qmp query-status 2>/dev/null); code_of_qmp=$?
    told=$(printf '%s\n' "$told" | sed -n 's/.*"status": *"\([^"]*\)".*/\1/p')
    case $code_of_qmp in
        127) unasked='socat is missing on this host: install it' ;;
        75) unasked='another verb has QMP: ask again in a moment' ;;
        *) unasked= ;;
    esac
}

show() { printf '\n== %s\n' "$1"; shift; "$@" 2>&1 || printf '(exit %s)\n' "$?"; }

# shellcheck disable=SC2317 # called by way of show
threads() {
    pid=$(cat "$QEMU/$VM.pid") || return
    for task in /proc/"$pid"/task/*; do
        state=$(sed -n 's/^State:[[:space:]]*//p' "$task/status")
        echo "${task##*/} $state, waits in $(cat "$task/wchan" 2>/dev/null)"
    done
    if command -v gdb >/dev/null; then
        bounded 20 gdb -p "$pid" -batch -ex 'thread apply all bt 12'
    fi
}

# The stall of QEMU's I/O: it answers, says `running`, and the two block statistics are the same.
forensics() {
    echo "VM $VM on $(uname -n) at $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    show 'qm status' bounded 10 qm status "$VM" --verbose
    show 'qm config' bounded 10 qm config "$VM"
    show 'qm pending: "new" is staged and comes with a cycle' bounded 10 qm pending "$VM"
    show 'QMP: status, block devices, block statistics twice' \
        qmp query-status query-block query-blockstats pause query-blockstats
    show 'guest agent: silence and exit 0 mean that it answers' bounded 10 qm guest cmd "$VM" ping
    show 'threads of QEMU' threads
    show 'kernel log of the host' bounded 10 sh -c 'dmesg -T | tail -n 40'
}

status() {
    state=$(bounded 10 qm status "$VM"); code=$?
    [ -z "$state" ] || echo "$state"
    lock=$(bounded 10 qm config "$VM" | sed -n 's/^lock: *//p')
    [ -z "$lock" ] || echo "locked: $lock"
    ask_qemu
    if [ -n "$told" ]; then
        echo "QEMU answers: $told"
    elif [ -n "$unasked" ]; then
        echo "QEMU was not asked: $unasked"
    else
        case $state in
            *stopped*) echo 'QEMU answers: no, as the VM is stopped' ;;
            *) echo 'QEMU answers: no. If the VM is running, it is wedged, and cycle is the recovery' ;;
        esac
    fi
    last=$(find "$KEPT" "$RUN" -name "*-$VM-*.output" -printf '%f %p\n' 2>/dev/null | sort | tail -n 1)
    last=${last#* }
    if [ -n "$last" ]; then
        code_of_last=$(cat "${last%.output}.exit" 2>/dev/null || echo 'under way, or the host went down')
        echo "last: $(basename "$last" .output), exit: $code_of_last"
        tail -n 20 "$last"
    fi
    return "$code"
}

# Whether this verb was refused because of this lock a moment ago. Each time counts once.
was_told() {
    [ "$(find "$RUN/$VM.told" -mmin -10 -exec cat {} + 2>/dev/null)" = "$1" ]
}

# Prints what it does, so that whoever comes back later sees how far it came.
change() {
    lock=$(bounded 10 qm config "$VM" | sed -n 's/^lock: *//p')
    if [ -z "$lock" ]; then
        skip=
    elif [ -z "$skip" ] || ! was_told "$verb $lock"; then
        echo "$verb $lock" >"$RUN/$VM.told"
        echo "VM $VM is locked ($lock): something else works on it. Skip the lock only if you know that it is dead."
        return 77
    fi
    rm -f "$RUN/$VM.told"
    case $verb in
        start | stop) qm_says "$verb" ;;
        reset) qm_says reset || { code=$?; advise_after_reset; return "$code"; } ;;
        cycle) qm_says stop && qm_says start ;;
    esac
}

# What helps if a reset failed.
advise_after_reset() {
    case $(bounded 10 qm status "$VM") in *stopped*) echo 'the VM is stopped: use start'; return ;; esac
    ask_qemu
    if [ -z "$told$unasked" ]; then echo 'reset needs a QEMU that answers: use cycle'; fi
}

# `qm stop` itself waits until it kills, for up to 131 s.
qm_says() {
    echo "+ qm $1 $VM $skip"
    # shellcheck disable=SC2086
    bounded 300 qm "$1" "$VM" $skip || return
    # For the reader alone: whether it answers decides nothing, least of all whether a cycle starts the VM.
    bounded 10 qm status "$VM" || true
}

case $verb in
    status) status; exit ;;
    forensics) forensics >"$run.forensics"; cat "$run.forensics"; exit ;;
esac
(
    trap '' HUP PIPE
    exec 9>"$RUN/$VM.lock"
    if flock -n 9; then
        find "$records" -name "*-$VM-*" -mtime +90 -delete
        forensics >"$run.forensics" 2>&1
        echo "forensics: $run.forensics"
        change
        code=$?
    else
        echo "another verb is under way for VM $VM: wait until it is done, and ask for status"
        code=75
    fi
    echo "$code" >"$run.exit"
) >"$run.output" 2>&1 </dev/null &
wait "$!"
cat "$run.output"
code=$(cat "$run.exit") && [ -n "$code" ] || code=1
if [ "$code" = 75 ]; then rm -f "$run".*; fi
exit "$code"
