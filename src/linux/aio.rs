//! Asynchronous I/O of `io_setup()`: `struct kioctx` (`fs/aio.c`).

use crate::kernel::KernelError;
use crate::memory::{GuestPhys, GuestVirt};

use super::mm::Mm;
use super::page::Page;
use super::percpu::{cpus, per_cpu_offset};
use super::view::{Raw, Struct};

/// Contexts that are looked at: each takes part of `fs.aio-max-nr`, which is 65536
/// where nobody has raised it.
const MAX_CONTEXTS: u32 = 1 << 20;
/// Pages of a ring: with 128 events to a page, more than there can be of these.
const MAX_PAGES: u64 = 1 << 20;

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
    /// [`KernelError::Corrupt`] for more than there can be.
    pub fn aio_contexts(&self) -> Result<Vec<Kioctx<'k>>, KernelError> {
        let Some(table) = self.ioctx_table()? else { return Ok(Vec::new()) };
        let (count, places) = (table.count()?, table.table()?.addr());
        if count > MAX_CONTEXTS {
            return Err(corrupt("kioctx_table", table.addr(), format!("it has {count} places")));
        }
        let mut found = Vec::new();
        for number in 0..u64::from(count) {
            let mut word = [0; 8];
            self.kernel().read(places.wrapping_add(number * 8), &mut word)?;
            let context = GuestVirt::new(u64::from_le_bytes(word));
            if !context.is_null() {
                found.push(Kioctx::at(self.kernel(), context)?);
            }
        }
        Ok(found)
    }
}

impl Kioctx<'_> {
    /// How many requests were made and have not ended. Exact while no CPU is at
    /// one.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn in_flight(&self) -> Result<i64, KernelError> {
        // One event less than have room, as a full ring would look empty.
        let all = i64::from(self.nr_events()?) - 1;
        let mut others = i64::from(self.reqs_available()?) + i64::from(self.completed_events()?);
        for cpu in 0..cpus(self.kernel())? {
            let at = self.cpu()?.wrapping_add(per_cpu_offset(self.kernel(), cpu)?);
            // Some CPUs there may be but are not.
            let Ok(taken) = KioctxCpu::at(self.kernel(), at)?.reqs_available() else { continue };
            others = others.saturating_add(i64::from(taken));
        }
        Ok(all.saturating_sub(others))
    }

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
