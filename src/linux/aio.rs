//! Asynchronous I/O of `io_setup()`: `struct kioctx` (`fs/aio.c`).

use std::collections::HashSet;

use crate::kernel::{Kernel, KernelError};
use crate::memory::{GuestPhys, GuestVirt};

use super::mm::Mm;
use super::page::Page;
use super::percpu::{cpus, per_cpu_offset};
use super::view::{Raw, Struct};

/// Contexts that are looked at: each takes part of `fs.aio-max-nr`, which is 65536
/// where nobody has raised it.
const MAX_CONTEXTS: u32 = 1 << 20;
/// Pages of all rings of a process: with 128 events to a page, more than there can be
/// of these.
const MAX_PAGES: u64 = 1 << 20;
/// How often is looked at what a CPU has of a context: as many contexts as there can
/// be by default, of 256 CPUs.
const MAX_LOOKS: u64 = 1 << 24;

kernel_struct! {
    /// The contexts of a process: `struct kioctx_table`.
    (optional) pub struct KioctxTable: "kioctx_table" {
        /// How many places there are.
        count: u32 = ["nr"],
        /// The places, `struct kioctx *` each; null for a free one.
        table: Raw = ["table"],
    }
}

kernel_struct! {
    /// A context: `struct kioctx`.
    (optional) pub struct Kioctx: "kioctx" {
        /// How the process calls it: the address of its ring.
        user_id: u64 = ["user_id"],
        /// Bytes of the ring.
        mmap_size: u64 = ["mmap_size"],
        /// How many events have room in it.
        nr_events: u32 = ["nr_events"],
        /// Requests that may still be made, but for those that CPUs have taken.
        reqs_available: i32 = ["reqs_available.counter"],
        /// What each CPU has, [`KioctxCpu`].
        cpu: GuestVirt = ["cpu"],
        /// Requests that have ended and were not given back yet.
        completed_events: u32 = ["completed_events"],
        /// Addresses of the ring's pages, each a pointer.
        ring_pages: GuestVirt = ["ring_folios", "ring_pages"],
        /// How many there are.
        nr_pages: u64 = ["nr_pages"],
    }
}

kernel_struct! {
    /// What a CPU has of a context: `struct kioctx_cpu`.
    (optional) pub struct KioctxCpu: "kioctx_cpu" {
        /// Requests that may be made on it.
        reqs_available: u32 = ["reqs_available"],
    }
}

impl<'k> Mm<'k> {
    /// Contexts of asynchronous I/O.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than there can be, of contexts or of pages of
    /// their rings, and for one that is there twice.
    pub fn aio_contexts(&self) -> Result<Vec<Kioctx<'k>>, KernelError> {
        let Some(table) = self.ioctx_table()? else { return Ok(Vec::new()) };
        let corrupt = |why| corrupt("kioctx_table", table.addr(), why);
        let (count, places) = (table.count()?, table.table()?.addr());
        if count > MAX_CONTEXTS {
            return Err(corrupt(format!("it has {count} places")));
        }
        let (mut found, mut known, mut pages) = (Vec::new(), HashSet::new(), 0_u64);
        for number in 0..u64::from(count) {
            let mut word = [0; 8];
            self.kernel().read(places.wrapping_add(number * 8), &mut word)?;
            let context = GuestVirt::new(u64::from_le_bytes(word));
            if context.is_null() {
                continue;
            }
            if !known.insert(context) {
                return Err(corrupt(format!("it has {context} twice")));
            }
            let context = Kioctx::at(self.kernel(), context)?;
            pages = pages.saturating_add(context.nr_pages()?);
            if pages > MAX_PAGES {
                return Err(corrupt(format!("its rings have {pages} pages")));
            }
            found.push(context);
        }
        Ok(found)
    }
}

/// Counts requests of contexts.
#[derive(Debug)]
pub struct RequestCount<'k> {
    kernel: &'k Kernel,
    /// Where each CPU has its variables.
    offsets: Vec<u64>,
    /// How often may still be looked at what a CPU has.
    looks: u64,
}

impl<'k> RequestCount<'k> {
    /// For all contexts of a save.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn new(kernel: &'k Kernel) -> Result<Self, KernelError> {
        Self::within(kernel, MAX_LOOKS)
    }

    pub(super) fn within(kernel: &'k Kernel, looks: u64) -> Result<Self, KernelError> {
        let offsets = (0..cpus(kernel)?).map(|cpu| per_cpu_offset(kernel, cpu));
        Ok(Self { kernel, offsets: offsets.collect::<Result<_, _>>()?, looks })
    }

    /// How many requests were made of a context and have not ended. Exact while no
    /// CPU is at one.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more contexts than there can be.
    pub fn in_flight(&mut self, context: &Kioctx<'_>) -> Result<i64, KernelError> {
        let left = self.looks.checked_sub(self.offsets.len() as u64);
        let too_many = || corrupt("kioctx", context.addr(), "there are too many".into());
        self.looks = left.ok_or_else(too_many)?;
        // One event less than have room, as a full ring would look empty.
        let all = i64::from(context.nr_events()?) - 1;
        let (available, completed) = (context.reqs_available()?, context.completed_events()?);
        let mut others = i64::from(available) + i64::from(completed);
        let cpu = context.cpu()?;
        for offset in &self.offsets {
            let own = KioctxCpu::at(self.kernel, cpu.wrapping_add(*offset))?;
            // Some CPUs there may be but are not.
            let Ok(taken) = own.reqs_available() else { continue };
            others = others.saturating_add(i64::from(taken));
        }
        Ok(all.saturating_sub(others))
    }
}

impl Kioctx<'_> {
    /// The frames of the ring.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for what is no ring.
    pub fn frames(&self) -> Result<Vec<GuestPhys>, KernelError> {
        let count = self.nr_pages()?;
        if count > MAX_PAGES {
            return Err(corrupt("kioctx", self.addr(), format!("its ring has {count} pages")));
        }
        let mut frames = Vec::new();
        for number in 0..count {
            let mut word = [0; 8];
            self.kernel().read(self.ring_pages()?.wrapping_add(number * 8), &mut word)?;
            let page = Page::at(self.kernel(), GuestVirt::new(u64::from_le_bytes(word)))?;
            let frame = page.phys();
            frames.push(frame.ok_or_else(|| {
                corrupt("kioctx", self.addr(), format!("page {number} of its ring is none"))
            })?);
        }
        Ok(frames)
    }
}

fn corrupt(what: &str, addr: GuestVirt, why: String) -> KernelError {
    KernelError::Corrupt { what: what.to_owned(), addr, why }
}
