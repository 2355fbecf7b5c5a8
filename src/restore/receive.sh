
# Second question: unpack a tar archive of BLOCKS times 64 KiB, which follows,
# into the new directory DIR.
#   receive DIR BLOCKS
read -r keyword wanted blocks <&3 || exit 0
mkdir -m 700 "$wanted" || exit 1
dir=$wanted
# The port has no end of its own, so the reader has to know when to stop. It
# also makes large blocks of what comes in pages. The host's clock may be ahead
# of the guest's, so its times are not taken over. A failure is not answered:
# writing to a port that the host has left would block.
dd bs=65536 count="$blocks" iflag=fullblock <&3 2>/dev/null |
    TAR_OPTIONS=-b128 tar -xm -C "$dir" -f - || exit 1
{
    (cd "$dir" && stat -c 'image %s %n' -- *)
    echo end
} >&3
