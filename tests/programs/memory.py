#!/usr/bin/python3
"""Holds random memory, open files and modified private mappings, and proves them at SIGUSR1.

Usage: memory.py FOLDER MEBIBYTES

Prints "ready CHECKSUM", then at each SIGUSR1 one line a part, "ok PART" or
"FAIL PART: WHY", and "done".
"""

import mmap
import os
import signal
import sys
import zlib

PIECE = 1 << 20
FILE_SIZE = 64 * 1024


def pattern(size, salt):
    return bytes((index * 7 + index // 256 + salt) % 256 for index in range(size))


def checksum(pieces):
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    return total


def open_files(folder):
    """Files with offsets and flags of their own, and what is to be read from each next."""
    files = []
    for number, flags in enumerate([os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_RDONLY | os.O_NONBLOCK]):
        path = os.path.join(folder, f"file{number}")
        with open(path, "wb") as file:
            file.write(pattern(FILE_SIZE, number))
        fd = os.open(path, flags)
        offset = 1000 * number + 17
        os.lseek(fd, offset, os.SEEK_SET)
        files.append((fd, flags, offset, number))
    return files


def check_files(files):
    for fd, flags, offset, number in files:
        if os.lseek(fd, 0, os.SEEK_CUR) != offset:
            return f"descriptor {fd} is at another offset"
        if os.get_inheritable(fd):
            return f"descriptor {fd} lost its close-on-exec flag"
        data = os.read(fd, 4096)
        if data != pattern(FILE_SIZE, number)[offset:offset + 4096]:
            return f"descriptor {fd} reads other data"
        if flags & os.O_APPEND:
            os.write(fd, b"end")
            if os.fstat(fd).st_size % FILE_SIZE == 0:
                return f"descriptor {fd} no longer appends"
        os.lseek(fd, offset, os.SEEK_SET)
    return None


def private_mapping(folder):
    """A private mapping of a file with every other page modified."""
    path = os.path.join(folder, "mapped")
    with open(path, "wb") as file:
        file.write(pattern(FILE_SIZE, 99))
    with open(path, "rb") as file:
        area = mmap.mmap(file.fileno(), FILE_SIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    expected = bytearray(pattern(FILE_SIZE, 99))
    for at in range(0, FILE_SIZE, 8192):
        area[at:at + 4096] = expected[at:at + 4096] = os.urandom(4096)
    return area, bytes(expected), path


def check_mapping(area, expected, path):
    if area[:] != expected:
        return "its contents changed"
    with open(path, "rb") as file:
        return None if file.read() == pattern(FILE_SIZE, 99) else "the file itself changed"


def say(part, wrong):
    print(f"FAIL {part}: {wrong}" if wrong else f"ok {part}", flush=True)


def main(folder, mebibytes):
    os.makedirs(folder, exist_ok=True)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    pieces = [bytearray(os.urandom(PIECE)) for _ in range(mebibytes)]
    expected = checksum(pieces)
    files = open_files(folder)
    area, contents, path = private_mapping(folder)
    print(f"ready {expected:08x}", flush=True)
    while True:
        signal.pause()
        say("memory", None if checksum(pieces) == expected else "another checksum")
        say("files", check_files(files))
        say("mapping", check_mapping(area, contents, path))
        print("done", flush=True)


main(sys.argv[1], int(sys.argv[2]))
