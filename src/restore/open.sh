# The guest's half of a restore. It talks with the host through the
# virtio-serial port named $1: the host sends a question, the answer is lines
# that begin with a keyword, and the line "end". When the host hangs up, the
# script ends and leaves nothing behind.
PATH=$PATH:/usr/sbin:/sbin

# Seconds since boot go to $now: a number of tries would take minutes in a guest
# that is overloaded, also where the host has hung up by now.
look_at_clock() {
    read -r now rest </proc/uptime
    now=${now%.*}
}
# How long a device may take to appear.
patience=30

# The device appears a moment after the port has been plugged. Its name is
# there without udev too.
device=
look_at_clock
limit=$((now + patience))
while [ ! -c "$device" ]; do
    for port in /sys/class/virtio-ports/*; do
        found=
        [ -r "$port/name" ] && read -r found <"$port/name"
        [ "$found" = "$1" ] && device=/dev/${port##*/}
    done
    look_at_clock
    if [ "$now" -gt $limit ]; then
        echo "the kernel shows no virtio-serial port $1" >&2
        exit 1
    fi
    [ -c "$device" ] || sleep 0.05 2>/dev/null || sleep 1
done
exec 3<>"$device" || exit 1

# What is made here goes into this directory, once there is one. The images lie
# in it, or on a disk that is mounted in it.
dir=
images=
gate=
clean() {
    [ -z "$gate" ] || rm -rf "${gate%/*}"
    # CRIU that was killed leaves all cgroups mounted where it worked: what is
    # deleted there is deleted.
    for yard in "$dir"/.criu.*; do
        [ -z "$dir" ] || [ ! -d "$yard" ] || umount -l "$yard"
    done
    [ "$images" = "$dir" ] || umount "$images" || umount -l "$images"
    [ -z "$dir" ] || grep -qF " $dir/" /proc/mounts || rm -rf "$dir"
    dir=
    images=
} 2>/dev/null
trap clean EXIT
shift
