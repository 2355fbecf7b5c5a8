
# Third question: restore the images.
#   cgroup HIERARCHY CONTROLLERS PATH
#   restore LIMIT KEEP TTY HOLD OPTIONS PID...
# with the cgroups that processes are in and those above them, these first, and
# controllers of those below with commas between, or "-"; a limit in seconds,
# "keep" or "remove" for the images, the terminal to restore on or "-", "hold" if
# the host has something to do before anything runs or "go", options for CRIU with
# commas between, and the PIDs of the tree, the root's first. Where it has, it is
# told "held" and says "go" or "end".
made=
enabled=
refused=
while read -r keyword first second rest <&3 && [ "$keyword" = cgroup ]; do
    find_cgroup "$first" "$rest" || continue
    if [ ! -d "$group" ]; then
        made="$group
$made"
        continue
    fi
    [ "$second" != - ] || continue
    read -r there <"$group/cgroup.subtree_control"
    for controller in $(IFS=,; echo $second); do
        case " $there " in
        *" $controller "*) ;;
        *)
            if echo "+$controller" 2>/dev/null >"$group/cgroup.subtree_control"; then
                enabled="$controller $group
$enabled"
            else
                refused="$refused $controller"
            fi
            ;;
        esac
    done
done
[ "$keyword" = restore ] || exit 0
limit=$first
keep=$second
read -r tty hold options pids <<END
$rest
END
options=$(IFS=,; echo $options)

# Takes away what was made, once what was restored has ended.
undo_cgroups() {
    echo "$made" | while IFS= read -r group; do
        tries=0
        while [ -d "$group" ] && ! rmdir "$group" && [ $tries -lt 50 ]; do
            sleep 0.1 || sleep 1
            tries=$((tries + 1))
        done
    done
    echo "$enabled" | while read -r controller group; do
        [ -z "$controller" ] || echo "-$controller" >"$group/cgroup.subtree_control"
    done
} 2>/dev/null

if [ -n "$refused" ]; then
    undo_cgroups
    clean
    {
        echo "unfit its cgroups do not get the controllers$refused"
        echo end
    } >&3
    exit 0
fi

# Out of the agent's unit: stopping that would end what we restore, unless it is to
# be there.
while read -r source mount kind rest; do
    case $kind in
    cgroup | cgroup2) echo 0 2>/dev/null >"$mount/cgroup.procs" ;;
    esac
done </proc/mounts

start_time() {
    # Field 22 of stat, counted from behind the name, which may hold anything.
    read -r line <"/proc/$1/stat" || return 1
    set -- ${line##*) }
    echo "${20}"
}
began=$(start_time $$)

# CRIU must not have restartable sequences itself: before Linux 5.13 it cannot
# tell how glibc registered them, and the kernel ends what is restored when it
# writes to memory of CRIU's that is gone.
export GLIBC_TUNABLES=glibc.pthread.rseq=0

# The session that a shell's job gets lasts as long as the root is there: at the
# end of its leader, the terminal would be hung up.
lead_session='
criu=$1 status=$2 root=$3
$criu
result=$?
echo $result >"$status"
while [ $result -eq 0 ] && [ -e "/proc/$root" ]; do
    sleep 1
done
'

# A script that CRIU runs when all is restored and stands still. It waits for the
# host, which may have gone, for a minute or more. Some places hold no programs, and
# in some others may have put something of the name.
make_gate() {
    for place in "$dir" /var/tmp /tmp; do
        gate=
        mkdir -m 700 "$place/ovmigrate-gate-$$" || continue
        gate=$place/ovmigrate-gate-$$/gate
        cat >"$gate" <<GATE && chmod 700 "$gate" && "$gate" && return
#!/bin/sh
[ "\$CRTOOLS_SCRIPT_ACTION" = pre-resume ] || exit 0
: >"$dir/held"
turn=0
while [ -e "$dir/held" ] && [ \$turn -lt 1200 ]; do
    turn=\$((turn + 1))
    sleep 0.05 2>/dev/null || sleep 1
done
[ ! -e "$dir/held" ] || kill -9 $pids
GATE
        rm -rf "${gate%/*}"
    done 2>/dev/null
    gate=
}

# Nothing must run without what the host has to do.
ask_host() {
    echo "held
end" >&3
    answer=end
    read -r answer <&3
    [ "$answer" = go ] || kill -9 $pids
    was_held=yes
    rm -f "$dir/held"
} 2>/dev/null

wait_for_criu() {
    look_at_clock
    until=$((now + limit + 30))
    while [ ! -s "$dir/status" ] && [ "$now" -lt $until ]; do
        [ ! -e "$dir/held" ] || ask_host
        sleep 0.05 2>/dev/null || sleep 1
        look_at_clock
    done
    # As `timeout` says of one that has to be ended.
    status=124
    [ ! -s "$dir/status" ] || read -r status <"$dir/status"
    rm -f "$dir/status"
}

criu="criu restore -D $images -W $dir -o restore.log -v4 $options"
was_held=
if [ "$hold" = hold ]; then
    make_gate
    criu="$criu --action-script $gate"
fi
# What is restored must not inherit the port.
if [ "$hold" = hold ] && [ -z "$gate" ]; then
    status=1
    echo "Error: no directory to run a script in" >"$dir/restore.log"
elif [ "$tty" != - ]; then
    (
        [ -c "$tty" ] && true <>"$tty" || {
            echo 1 >"$dir/status"
            exit
        }
        exec 0<>"$tty" 1>&0 2>&0 3>&-
        criu="timeout --foreground -k 5 $limit $criu"
        exec setsid -c sh -c "$lead_session" sh "$criu" "$dir/status" "${pids%% *}"
    ) 2>/dev/null &
    wait_for_criu
elif [ "$hold" = hold ]; then
    (
        timeout -k 5 "$limit" $criu </dev/null
        echo $? >"$dir/status"
    ) >/dev/null 2>&1 3>&- &
    wait_for_criu
else
    timeout -k 5 "$limit" $criu </dev/null >/dev/null 2>&1 3>&-
    status=$?
fi
[ -z "$gate" ] || rm -rf "${gate%/*}"
if [ "$hold" = hold ] && [ $status -eq 0 ] && [ -z "$was_held" ]; then
    kill -9 $pids 2>/dev/null
    status=1
    echo "Error: CRIU ran no script before the processes" >>"$dir/restore.log"
fi
if [ $status -eq 0 ]; then
    # What was restored wrongly dies as soon as it runs.
    sleep 0.1 2>/dev/null || sleep 1
    report=$(
        while read -r keyword value rest; do
            [ "$keyword" = State: ] && echo "state $value"
        done 2>/dev/null <"/proc/${pids%% *}/status"
        count=0
        for pid in $pids; do
            [ -e "/proc/$pid" ] && count=$((count + 1))
        done
        echo "there $count"
    )
else
    keep=remove
    report=$(
        grep -E 'Error|Warn' "$dir/restore.log" | tail -n 12 | while read -r line; do
            printf '%s\n' "log $line"
        done
    )
    # CRIU kills what it began; it cannot when it was killed itself. Where it was
    # not, a process may have one of the PIDs that has nothing to do with it.
    case $status in
    124 | 137)
        for pid in $pids; do
            born=$(start_time "$pid" 2>/dev/null) || continue
            [ "$born" -ge "$began" ] && kill -9 "$pid"
        done
        ;;
    esac
    undo_cgroups
fi

# Before the answer, which would wait for ever for a host that has gone.
if [ "$keep" = keep ]; then
    dir=
    images=
fi
clean
{
    echo "criu $status"
    [ -z "$report" ] || echo "$report"
    echo end
} >&3
