//! What a guest might lie about, and with what.

use std::ops::Range;

use fastrand::Rng;
use ovmigrate::memory::{GuestPhys, PAGE_SIZE};

use super::dump::{Dump, Words};

/// Words that are replaced in a trial at most.
const LIES_MAX: usize = 8;
/// Words of the guest that lies are made of.
const SAMPLE: usize = 4096;

/// What is read of a guest that does not lie: guest-physical ranges, each once.
pub struct Truth {
    attach: Vec<Range<u64>>,
    look: Vec<Range<u64>>,
    capture: Vec<Range<u64>>,
    /// Page tables of the process.
    tables: Vec<u64>,
    /// Words that stand there.
    sample: Vec<u64>,
    ram_end: u64,
}

/// What a guest says instead.
pub struct Lies {
    pub words: Words,
    /// Whether something is said that only an attach reads.
    pub about_the_kernel: bool,
}

impl Truth {
    /// Sorts what was read into the three parts of a trial, which begin at
    /// these places of the trace.
    pub fn new(dump: &Dump, trace: &[Range<u64>], begun: &[usize]) -> Self {
        let [attach, look_at, capture] = begun else {
            panic!("a trial has three parts: {begun:?}")
        };
        let part = |reads: &[Range<u64>]| {
            let mut ranges = reads.to_vec();
            ranges.sort_by_key(|range| (range.start, range.end));
            ranges.dedup();
            ranges
        };
        let look = part(&trace[*look_at..*capture]);
        let capture = part(&trace[*capture..]);
        let pages = capture.iter().filter(|range| range.end - range.start == PAGE_SIZE);
        Self {
            attach: part(&trace[*attach..*look_at]),
            sample: sample(dump, &look),
            look,
            tables: pages.map(|page| page.start).collect(),
            capture,
            ram_end: dump.end(),
        }
    }

    /// Lies for one trial.
    pub fn lies(&self, rng: &mut Rng) -> Lies {
        let mut words = Words::new();
        // Few that are lied to about the kernel itself come any further.
        let about_the_kernel = rng.u8(..4) == 0;
        for _ in 0..rng.usize(1..=LIES_MAX) {
            let ranges = match (about_the_kernel, rng.bool()) {
                (true, _) => &self.attach,
                (false, true) => &self.look,
                (false, false) => &self.capture,
            };
            let range = &ranges[rng.usize(..ranges.len())];
            words.insert(rng.u64(range.clone()) & !7, self.word(rng));
        }
        Lies { words, about_the_kernel }
    }

    fn word(&self, rng: &mut Rng) -> u64 {
        match rng.u8(..12) {
            0 => 0,
            1 => u64::MAX,
            2 => rng.u64(..),
            3 => 1 << rng.u32(..64),
            4 => rng.u64(..4096),
            // Two large counts: most are of 32 bits.
            5 => rng.u64(..) | 0x7fff_0000_7fff_0000,
            // A page-table entry.
            6 => rng.u64(..self.ram_end) & !0xfff | 0x67,
            // One that leads back into the tables.
            7 => self.tables[rng.usize(..self.tables.len())] | 0x67,
            // The last page of a process.
            8 => 0x7fff_ffff_f000,
            // What stands elsewhere, mostly pointers.
            _ => self.sample[rng.usize(..self.sample.len())],
        }
    }
}

fn sample(dump: &Dump, ranges: &[Range<u64>]) -> Vec<u64> {
    let (memory, _) = dump.memory(Words::new());
    let words = ranges.iter().step_by(ranges.len().div_ceil(SAMPLE));
    words.map(|range| memory.read_u64(GuestPhys::new(range.start & !7)).unwrap()).collect()
}
