//! A guest's RAM in a file, with words of it replaced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use goblin::elf::{Elf, program_header::PT_LOAD};
use ovmigrate::memory::{Backing, FilePiece, GuestMemory, GuestPhys, MappedFile, Region};

/// Words by guest-physical address.
pub type Words = BTreeMap<u64, u64>;

/// An ELF core of a guest.
pub struct Dump {
    path: PathBuf,
    pieces: Vec<Piece>,
}

/// Where a piece of RAM lies, in the guest and in the file.
struct Piece {
    start: u64,
    len: u64,
    offset: u64,
}

impl Dump {
    /// Reads the headers of a dump that `qemu-scripts/vm dump` wrote.
    pub fn open(path: &Path) -> Self {
        let mut head = Vec::new();
        File::open(path).unwrap().take(1 << 20).read_to_end(&mut head).unwrap();
        let elf = Elf::parse_header(&head).unwrap();
        let ctx = goblin::container::Ctx::new(elf.container().unwrap(), elf.endianness().unwrap());
        let count = usize::from(elf.e_phnum);
        let headers =
            goblin::elf::ProgramHeader::parse(&head, elf.e_phoff as usize, count, ctx).unwrap();
        let loads = headers.iter().filter(|header| header.p_type == PT_LOAD);
        let pieces = loads.map(|header| Piece {
            start: header.p_paddr,
            len: header.p_filesz,
            offset: header.p_offset,
        });
        Self { path: path.to_owned(), pieces: pieces.collect() }
    }

    /// The guest's memory, with these words in the place of its own.
    pub fn memory(&self, lies: Words) -> (GuestMemory, Arc<Meter>) {
        let (meter, lies) = (Arc::new(Meter::default()), Arc::new(lies));
        let regions = self.pieces.iter().map(|piece| {
            let file = File::options().read(true).write(true).open(&self.path).unwrap();
            let truth =
                MappedFile::new(FilePiece { file, offset: piece.offset }, piece.len, None).unwrap();
            let (start, len) = (piece.start, piece.len);
            let backing = Lying { start, truth, lies: lies.clone(), meter: meter.clone() };
            Region { start: GuestPhys::new(start), len, backing: Box::new(backing) }
        });
        (GuestMemory::new(regions.collect()).unwrap(), meter)
    }

    /// End of the guest-physical space.
    pub fn end(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.start + piece.len).max().unwrap()
    }
}

/// A piece of a guest's RAM that lies.
#[derive(Debug)]
struct Lying {
    start: u64,
    truth: MappedFile,
    lies: Arc<Words>,
    meter: Arc<Meter>,
}

impl Backing for Lying {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.truth.read(offset, buf)?;
        let read = self.start + offset..self.start + offset + buf.len() as u64;
        for (&at, lie) in self.lies.range(read.start.saturating_sub(7)..read.end) {
            for (place, byte) in (at..).zip(lie.to_le_bytes()) {
                if read.contains(&place) {
                    buf[(place - read.start) as usize] = byte;
                }
            }
        }
        self.meter.count(read);
        Ok(())
    }

    fn write(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        panic!("reading writes to the guest");
    }

    fn borrow(&self, _offset: u64, _len: usize) -> Option<&[u8]> {
        None
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        self.truth.next_data(offset)
    }
}

/// Counts what is read.
#[derive(Debug, Default)]
pub struct Meter {
    reads: AtomicU64,
    tracing: AtomicBool,
    trace: Mutex<Vec<Range<u64>>>,
}

impl Meter {
    fn count(&self, read: Range<u64>) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.tracing.load(Ordering::Relaxed) {
            self.trace.lock().unwrap().push(read);
        }
    }

    /// Accesses so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Keeps which addresses are read, from now on.
    pub fn trace(&self) {
        self.tracing.store(true, Ordering::Relaxed);
    }

    /// How many accesses were kept.
    pub fn traced(&self) -> usize {
        self.trace.lock().unwrap().len()
    }

    /// The guest-physical ranges that were read, in order.
    pub fn take_trace(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.trace.lock().unwrap())
    }
}
