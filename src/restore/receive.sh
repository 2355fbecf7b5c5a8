
# Else: unpack a tar archive of BLOCKS times 64 KiB, which follows.
#   receive DIR BLOCKS
if [ "$keyword" = receive ]; then
    # The port has no end of its own, so the reader has to know when to stop. It
    # also makes large blocks of what comes in pages. The host's clock may be ahead
    # of the guest's, so its times are not taken over. A failure is not answered:
    # writing to a port that the host has left would block.
    dd bs=65536 count="$first" iflag=fullblock <&3 2>/dev/null |
        TAR_OPTIONS=-b128 tar -xm -C "$dir" -f - || exit 1
    {
        (cd "$dir" && stat -c 'image %s %n' -- *)
        echo end
    } >&3
fi
