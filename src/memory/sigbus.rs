//! Turns a bus error on a guest mapping into an error instead of a death.
//!
//! A load from a mapped file faults with `SIGBUS` when the host has no page to
//! give: the file was truncated, the huge-page pool is empty, the page is
//! poisoned. The handler maps a zero page over the place, so that the load
//! ends, and marks the mapping; [`Watched::check`] then reports it.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Mappings that can be watched at once; a guest has one for each RAM block.
const SLOTS: usize = 256;

/// One watched mapping. `start == 0` marks a free slot.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    page_size: AtomicUsize,
    faulted: AtomicBool,
}

static WATCHED: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        page_size: AtomicUsize::new(0),
        faulted: AtomicBool::new(false),
    }
}; SLOTS];

/// A mapping whose bus errors are caught until this is dropped.
#[derive(Debug)]
pub(super) struct Watched(usize);

impl Watched {
    /// Watches the mapping at `range` of pages of `page_size` bytes.
    pub(super) fn new(range: Range<usize>, page_size: usize) -> io::Result<Self> {
        install_handler()?;
        for (index, slot) in WATCHED.iter().enumerate() {
            // The start is published last, so that the handler never sees a
            // slot that is half filled in; `1` holds the slot meanwhile.
            if slot.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            slot.end.store(range.end, Ordering::Relaxed);
            slot.page_size.store(page_size, Ordering::Relaxed);
            slot.faulted.store(false, Ordering::Relaxed);
            slot.start.store(range.start, Ordering::Release);
            return Ok(Self(index));
        }
        Err(io::Error::other(format!("more than {SLOTS} guest RAM mappings")))
    }

    /// Fails once a load or store on the mapping has faulted.
    pub(super) fn check(&self) -> io::Result<()> {
        if WATCHED[self.0].faulted.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "bus error: the backing file has no page for it (truncated, out of huge pages or poisoned)",
            ));
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let slot = &WATCHED[self.0];
        slot.end.store(0, Ordering::Relaxed);
        slot.start.store(0, Ordering::Release);
    }
}

fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), nix::Error>> = OnceLock::new();
    let result = INSTALLED.get_or_init(|| {
        let action = SigAction::new(
            SigHandler::SigAction(on_sigbus),
            SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK,
            SigSet::empty(),
        );
        // SAFETY: the handler only uses atomics, `mmap` and `sigaction`.
        unsafe { sigaction(Signal::SIGBUS, &action) }.map(|_| ())
    });
    result.map_err(io::Error::from)
}

extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let info = unsafe { &*info };
    // SAFETY: SIGBUS carries an address.
    let addr = unsafe { info.si_addr() } as usize;
    for slot in &WATCHED {
        let start = slot.start.load(Ordering::Acquire);
        if start > 1 && (start..slot.end.load(Ordering::Relaxed)).contains(&addr) {
            let page_size = slot.page_size.load(Ordering::Relaxed);
            if cover_with_zeros(addr & !(page_size - 1), page_size) {
                slot.faulted.store(true, Ordering::Release);
                return;
            }
        }
    }
    // Not ours: die by it as if there were no handler, when the access is
    // tried again.
    // SAFETY: resetting a signal's action is async-signal-safe.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

fn cover_with_zeros(page: usize, page_size: usize) -> bool {
    // SAFETY: the page lies in a watched mapping of this process, which only
    // `MappedFile` accesses and only through raw pointers.
    let covered = unsafe {
        libc::mmap(
            page as *mut libc::c_void,
            page_size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    covered != libc::MAP_FAILED
}
