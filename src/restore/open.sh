# The guest's half of a restore. It talks with the host through the
# virtio-serial port named $1: the host sends a question, the answer is lines
# that begin with a keyword, and the line "end". When the host hangs up, the
# script ends and leaves nothing behind.
PATH=$PATH:/usr/sbin:/sbin

# The device appears a moment after the port has been plugged. Its name is
# there without udev too.
device=
tries=0
while [ ! -c "$device" ]; do
    for port in /sys/class/virtio-ports/*; do
        found=
        [ -r "$port/name" ] && read -r found <"$port/name"
        [ "$found" = "$1" ] && device=/dev/${port##*/}
    done
    tries=$((tries + 1))
    if [ $tries -gt 200 ]; then
        echo "the kernel shows no virtio-serial port $1" >&2
        exit 1
    fi
    [ -c "$device" ] || sleep 0.05 2>/dev/null || sleep 1
done
exec 3<>"$device" || exit 1

# The directory of the images, once there is one.
dir=
trap '[ -z "$dir" ] || rm -rf "$dir"' EXIT
shift
