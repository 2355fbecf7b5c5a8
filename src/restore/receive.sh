
# Second question: unpack a tar archive of BLOCKS times 64 KiB, which follows,
# into the new directory DIR.
#   receive DIR BLOCKS
read -r keyword wanted blocks <&3 || exit 0
if complaint=$(mkdir -m 700 "$wanted" 2>&1); then
    dir=$wanted
    # The port has no end of its own, so the reader has to know when to stop. It
    # also makes large blocks of what comes in pages.
    complaint=$(dd bs=65536 count="$blocks" iflag=fullblock <&3 2>/dev/null |
        TAR_OPTIONS=-b128 tar -x -C "$dir" -f - 2>&1) && complaint=
fi
{
    if [ -z "$complaint" ]; then
        (cd "$dir" && stat -c 'image %s %n' -- *)
    else
        echo "$complaint" | while read -r line; do
            echo "failed $line"
        done
    fi
    echo end
} >&3
