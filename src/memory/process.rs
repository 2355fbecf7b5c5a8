//! The second rung of the access ladder: the memory of the QEMU process, read
//! and written through the host. It takes any VM, whatever its RAM is made of.
//!
//! Words and whatever fits a page go through `/proc/PID/mem`, a descriptor of
//! QEMU's address space that no later process with its PID can come under.
//! Larger reads go through `process_vm_readv()`, which takes many pieces at
//! once and copies them once; it takes a PID, so QEMU is seen to live after it.
//!
//! What the host's kernel promises of words: nothing. It copies them with
//! `memcpy()`, on x86-64 in loads and stores of 8 bytes, or with `rep movsb`
//! where the CPU is quick at it. So a word is read as the 8 bytes that it lies
//! in. Writing relies on no promise: control structures are written while the
//! VM is paused, when no vCPU can see half of a word.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::domain::ProcessHandle;

use super::address::PAGE_SIZE;
use super::guest::Backing;
use super::populated::{FilePiece, Pagemap, Populated};

/// Pieces that one system call takes (`UIO_MAXIOV`).
const MAX_PIECES: usize = 1024;

/// The address space of a QEMU process.
#[derive(Debug)]
pub struct ProcessMemory {
    process: ProcessHandle,
    mem: File,
}

impl ProcessMemory {
    /// Takes a process and its `/proc/PID/mem`.
    pub fn new(process: ProcessHandle, mem: File) -> Self {
        Self { process, mem }
    }

    fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.mem.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => return Err(ended()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.mem.write_at(&bytes[done..], at + done as u64) {
                Ok(0) => return Err(ended()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Copies pieces of at most [`MAX_PIECES`] into `buf`, which has the length
    /// of all.
    fn read_pieces(&self, pieces: &[RemoteIoVec], buf: &mut [u8]) -> io::Result<()> {
        let mut pieces = pieces.to_vec();
        let (mut rest, mut done) = (pieces.as_mut_slice(), 0);
        while done < buf.len() {
            let mut local = [IoSliceMut::new(&mut buf[done..])];
            let count = match process_vm_readv(Pid::from_raw(self.process.pid()), &mut local, rest)
            {
                Ok(0) => return Err(Errno::EFAULT.into()),
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(Errno::ESRCH) => return Err(ended()),
                Err(errno) => return Err(errno.into()),
            };
            done += count;
            rest = advance(rest, count);
        }
        // Its PID was its own all the while if it still lives.
        if self.process.has_ended() { Err(ended()) } else { Ok(()) }
    }
}

/// What is left of `pieces` after the first `count` bytes.
fn advance(mut pieces: &mut [RemoteIoVec], mut count: usize) -> &mut [RemoteIoVec] {
    while let Some(first) = pieces.first_mut() {
        if count < first.len {
            first.base += count;
            first.len -= count;
            break;
        }
        count -= first.len;
        pieces = &mut pieces[1..];
    }
    pieces
}

fn ended() -> io::Error {
    io::Error::other("the QEMU process has ended")
}

/// A piece of guest RAM in a QEMU process.
#[derive(Debug)]
pub struct ProcessRam {
    process: Arc<ProcessMemory>,
    host_virt: u64,
    len: u64,
    populated: Populated,
}

impl ProcessRam {
    /// `len` bytes at the place that `pagemap` is of. `file` is what was
    /// mapped there, if anything.
    ///
    /// # Errors
    ///
    /// Where the piece leaves the address space.
    pub fn new(
        process: Arc<ProcessMemory>,
        pagemap: Pagemap,
        file: Option<FilePiece>,
        len: u64,
    ) -> io::Result<Self> {
        let host_virt = pagemap.host_virt;
        if host_virt.checked_add(len).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(io::Error::other(format!("{len} bytes at {host_virt:#x} are no memory")));
        }
        let populated = Populated::of_process(pagemap, file, len);
        Ok(Self { process, host_virt, len, populated })
    }

    /// The address in QEMU of `offset`, checked to have `len` bytes behind it.
    fn address(&self, offset: u64, len: usize) -> io::Result<u64> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(self.host_virt + offset),
            _ => Err(io::Error::other("access past the end of the memory region")),
        }
    }
}

impl Backing for ProcessRam {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = self.address(offset, buf.len())?;
        let within = (offset % 8) as usize;
        match buf.len() {
            len if within + len <= 8 && self.address(offset - within as u64, 8).is_ok() => {
                let mut word = [0; 8];
                self.process.read(at - within as u64, &mut word)?;
                buf.copy_from_slice(&word[within..within + len]);
                Ok(())
            }
            len if len as u64 <= PAGE_SIZE => self.process.read(at, buf),
            len => self.process.read_pieces(&[RemoteIoVec { base: at as usize, len }], buf),
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.process.write(self.address(offset, bytes.len())?, bytes)
    }

    fn read_batch(&self, pieces: &[(u64, usize)], buf: &mut [u8]) -> io::Result<()> {
        let mut rest = buf;
        for pieces in pieces.chunks(MAX_PIECES) {
            let mut remote = Vec::with_capacity(pieces.len());
            for &(offset, len) in pieces {
                let base = self.address(offset, len)? as usize;
                remote.push(RemoteIoVec { base, len });
            }
            let bytes = remote.iter().map(|piece| piece.len).sum();
            let (batch, after) = rest.split_at_mut(bytes);
            self.process.read_pieces(&remote, batch)?;
            rest = after;
        }
        Ok(())
    }

    fn borrow(&self, _offset: u64, _len: usize) -> Option<&[u8]> {
        None
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        self.populated.next_data(offset)
    }
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;

    use super::*;

    const LEN: u64 = 8 << 20;

    /// Memory of a process: this one.
    fn ram() -> (MmapMut, ProcessRam) {
        let map = MmapMut::map_anon(LEN as usize).unwrap();
        let process = ProcessHandle::current();
        let (mem, pagemap) = (process.open_memory().unwrap(), process.open_pagemap().unwrap());
        let process = Arc::new(ProcessMemory::new(process, mem));
        let pagemap = Pagemap { file: pagemap, host_virt: map.as_ptr() as u64 };
        let ram = ProcessRam::new(process, pagemap, None, LEN).unwrap();
        (map, ram)
    }

    #[test]
    fn what_is_written_is_read_at_every_width_and_alignment() {
        let (map, ram) = ram();
        for len in 1..=16u8 {
            for offset in 0..8u8 {
                let bytes: Vec<u8> = (0..len).map(|byte| byte ^ offset).collect();
                let at = LEN - 32 + u64::from(offset);
                ram.write(at, &bytes).unwrap();
                let mut back = vec![0; usize::from(len)];
                ram.read(at, &mut back).unwrap();
                assert_eq!(back, bytes);
                assert_eq!(map[at as usize..][..usize::from(len)], bytes);
            }
        }
    }

    #[test]
    fn many_pieces_are_read_in_their_order() {
        let (mut map, ram) = ram();
        for (index, byte) in map.iter_mut().enumerate() {
            *byte = (index / 4096 + index) as u8;
        }
        let pieces: Vec<(u64, usize)> =
            (0..3000).map(|index| (index * 2711 % (LEN - 64), (index % 64) as usize)).collect();
        let expected: Vec<u8> =
            pieces.iter().flat_map(|&(at, len)| map[at as usize..][..len].to_vec()).collect();
        let mut buf = vec![0; expected.len()];
        ram.read_batch(&pieces, &mut buf).unwrap();
        assert!(buf == expected);
        let mut all = vec![0; LEN as usize];
        ram.read(0, &mut all).unwrap();
        assert!(all == map[..]);
    }

    #[test]
    fn looking_for_data_and_reading_untouched_pages_give_them_no_memory() {
        let (map, ram) = ram();
        // Makes it a mapping apart from its neighbours.
        map.advise(memmap2::Advice::NoHugePage).unwrap();
        assert_eq!(ram.next_data(0), None);
        let mut all = vec![1; LEN as usize];
        ram.read(0, &mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 0));
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let ours = smaps.split_once(&format!("{:x}-", map.as_ptr() as usize)).unwrap().1;
        // The zero page is not counted.
        let rss = ours.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        assert_eq!(rss.trim(), "0 kB");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let (_map, mut ram) = ram();
        let mut buf = vec![0; 1 << 20];
        assert!(ram.read(LEN - 4, &mut buf[..8]).is_err());
        assert!(ram.write(u64::MAX, &[1]).is_err());
        assert!(ram.read_batch(&[(0, 8), (LEN, 8)], &mut buf[..16]).is_err());
        // Nothing is mapped so low (`vm.mmap_min_addr`).
        ram.host_virt = PAGE_SIZE;
        assert!(ram.read(0, &mut buf).is_err());
        assert!(ram.read(0, &mut buf[..8]).is_err());
        assert!(ram.write(0, &[1]).is_err());
    }
}
