
# First question: what has this guest of what the images need?
#   pid N         a PID or TID
#   path TEXT     a file, with what is not plain as escapes of printf %b
#   end
# Files are numbered from 0 in the answer.
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
                echo "taken $value $comm"
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
