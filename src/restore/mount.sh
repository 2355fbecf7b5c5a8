
# Second question, where the images come on a disk: does it show, with so many
# blocks of 512 bytes?
#   disk DIR SERIAL BLOCKS
# DIR is new and takes what is made here. Where there is no disk the answer tells
# why, and the images come as below.
next_question() {
    read -r keyword wanted first second <&3 || exit 0
    mkdir -m 700 "$wanted" || exit 1
    dir=$wanted
    images=$dir
}
next_question

find_disk() {
    for entry in /sys/block/vd*; do
        found=
        # What is read has no newline at its end.
        [ -r "$entry/serial" ] && read -r found <"$entry/serial"
        [ "$found" = "$1" ] || continue
        read -r found <"$entry/size"
        disk=/dev/${entry##*/}
        [ "$found" = "$2" ] && [ -b "$disk" ] && return
    done
    return 1
}

mount_disk() {
    modprobe virtio_blk 2>/dev/null
    look_at_clock
    limit=$((now + patience))
    until find_disk "$1" "$2"; do
        look_at_clock
        if [ "$now" -gt $limit ]; then
            echo "its kernel shows no disk"
            return 1
        fi
        sleep 0.05 2>/dev/null || sleep 1
    done
    # CRIU reads all of it, in order.
    echo 4096 2>/dev/null >"/sys/block/${disk##*/}/queue/read_ahead_kb"
    mkdir "$dir/images" || return
    mount -t iso9660 -o ro,nosuid,nodev,noexec,norock,nojoliet,map=off "$disk" "$dir/images" 2>&1
}

if [ "$keyword" = disk ]; then
    images=$dir/images
    if reason=$(mount_disk "$first" "$second"); then
        {
            (cd "$images" && stat -c 'image %s %n' -- *)
            echo end
        } >&3
    else
        clean
        {
            echo "none" $reason
            echo end
        } >&3
        next_question
    fi
fi
