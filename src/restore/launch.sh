
# Third question: restore the images.
#   restore LIMIT KEEP OPTIONS PID...
# with a limit in seconds, "keep" or "remove" for the images, options for CRIU
# with commas between, and the PIDs of the tree, the root's first.
read -r keyword limit keep options pids <&3 || exit 0
options=$(IFS=,; echo $options)

# Out of the agent's unit: stopping that would end what we restore.
echo 0 2>/dev/null >/sys/fs/cgroup/cgroup.procs

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

# What is restored must not inherit the port.
timeout -k 5 "$limit" criu restore -D "$dir" -W "$dir" -o restore.log -v4 \
    $options </dev/null >/dev/null 2>&1 3>&-
status=$?
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
            echo "log $line"
        done
    )
    # CRIU kills what it began; it cannot when it was killed itself.
    for pid in $pids; do
        born=$(start_time "$pid" 2>/dev/null) || continue
        [ "$born" -ge "$began" ] && kill -9 "$pid"
    done
fi

# Before the answer, which would wait for ever for a host that has gone.
[ "$keep" = keep ] || rm -rf "$dir"
dir=
{
    echo "criu $status"
    [ -z "$report" ] || echo "$report"
    echo end
} >&3
