
# First question: what has this guest of what the images need?
#   pid N         a PID or TID
#   path TEXT     a file, with what is not plain as escapes of printf %b
#   profiles      which AppArmor profiles there are
#   tty PATH      a terminal to restore on
#   ptys          numbers of pseudoterminals that are in use
#   names         Unix sockets that are bound and not connected
#   ports         sockets of netlink that are bound
#   cgroup N HIERARCHY PATH
#                 a cgroup, likewise, with its hierarchy's controllers or name, or "-"
#                 for version 2
#   file N M NAME a file of it
#   end
# Files are numbered from 0 in the answer. What others have named is printed as it
# is: some shells' echo knows escapes.

# Says of a terminal whether some session has it, which would lose it.
look_at_terminal() {
    command -v setsid >/dev/null 2>&1 || echo "lacks setsid"
    [ -c "$1" ] && timeout 5 sh -c '[ -t 0 ] <>"$0"' "$1" 2>/dev/null || {
        echo "tty none"
        return
    }
    number=$(stat -L -c '0x%t 0x%T' -- "$1")
    major=${number% *} minor=${number#* }
    # As the kernel gives it in stat: new_encode_dev().
    number=$((major << 8 | minor & 0xff | (minor & ~0xff) << 12))
    for stat in /proc/[0-9]*/stat; do
        read -r line 2>/dev/null <"$stat" || continue
        # What follows the name, which may hold anything: the fifth is tty_nr.
        set -- ${line##*) }
        [ "$5" = "$number" ] || continue
        stat=${stat%/stat}
        read -r comm <"$stat/comm"
        printf '%s\n' "tty taken ${stat#/proc/} $comm"
        return
    done 2>/dev/null
    echo "tty free"
}

# Where a hierarchy of cgroups is mounted goes to $mount.
find_hierarchy() {
    while read -r source mount kind options rest; do
        case $1,$kind in
        -,cgroup2) return 0 ;;
        -,* | *,cgroup2) continue ;;
        *,cgroup) ;;
        *) continue ;;
        esac
        all=$1,
        while [ -n "$all" ]; do
            case ,$options, in
            *,"${all%%,*}",*) all=${all#*,} ;;
            *) continue 2 ;;
            esac
        done
        return 0
    done </proc/mounts
    return 1
}

# The place of a cgroup goes to $group, or nothing where its hierarchy is not
# mounted.
find_cgroup() {
    group=
    find_hierarchy "$(printf '%b' "$1")" || return 1
    group=$mount$(printf '%b.' "$2")
    group=${group%/.}
}

{
    for tool in criu dd tar stat timeout; do
        command -v $tool >/dev/null 2>&1 || echo "lacks $tool"
    done
    echo "criu $(criu --version 2>/dev/null | head -n 1)"

    while read -r keyword value && [ "$keyword" != end ]; do
        case $keyword in
        pid)
            if [ -e "/proc/$value" ]; then
                read -r comm <"/proc/$value/comm"
                printf '%s\n' "taken $value $comm"
            fi
            ;;
        names)
            # The state of a socket that is not connected is 01.
            while read -r at references protocol flags type state inode name; do
                [ "$state" != 01 ] || [ -z "$name" ] || printf '%s\n' "bound $name"
            done </proc/net/unix
            ;;
        ports)
            while read -r at protocol port rest; do
                echo "port $protocol $port"
            done </proc/net/netlink
            ;;
        cgroup)
            number=${value%% *}
            value=${value#* }
            state=none
            if find_cgroup "${value%% *}" "${value#* }"; then
                state=missing
                [ -d "$group" ] && state=there
            fi
            echo "group $number $state"
            ;;
        file)
            if [ -r "$group/${value##* }" ]; then
                while read -r line; do
                    printf '%s\n' "set ${value% *} $line"
                done <"$group/${value##* }"
            fi
            ;;
        path)
            case $value in
            *\\*)
                # The letter keeps newlines at the end from being cut off.
                value=$(printf '%b.' "$value")
                value=${value%.}
                ;;
            esac
            set -- "$@" "$value"
            ;;
        profiles)
            # CRIU looks for them there, too.
            while read -r name; do
                printf '%s\n' "profile $name"
            done 2>/dev/null </sys/kernel/security/apparmor/profiles
            ;;
        tty)
            look_at_terminal "$value"
            ;;
        ptys)
            # One whose master was closed has its number as long as somebody has it
            # open, but no name any more.
            echo "ptys" $(cd /dev/pts 2>/dev/null && echo [0-9]*) $(
                ls -l /proc/[0-9]*/fd 2>/dev/null |
                    sed -n 's,.* -> /dev/pts/\([0-9]*\) (deleted)$,\1,p'
            )
            ;;
        esac
    done

    index=0
    for path; do
        shift
        if [ -e "$path" ]; then
            echo "there $index"
            set -- "$@" "$path"
        else
            echo "missing $index"
        fi
        index=$((index + 1))
    done
    # One process for all of them: in the order of the lines "there".
    [ $# -eq 0 ] || stat -L -c 'stat %s %f' -- "$@"

    # A sysctl gives all or nothing, and the shell reads byte by byte.
    echo "pid_max $(cat /proc/sys/kernel/pid_max)"
    while read -r keyword value unit; do
        case $keyword in
        MemAvailable: | SwapFree:) echo "memory $value" ;;
        esac
    done </proc/meminfo
    for parent in /run /var/tmp; do
        df -Pk $parent 2>/dev/null | {
            read -r header
            read -r source blocks used free rest
            echo "space $parent $free"
        }
    done
    while IFS=: read -r keyword value; do
        case $keyword in
        flags*)
            echo "flags $value"
            break
            ;;
        esac
    done </proc/cpuinfo
    echo end
} <&3 >&3
