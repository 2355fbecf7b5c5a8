//! The VMs that the tests use, what runs in them, and the `ovmigrate` under test.
//!
//! Two VMs of a kernel serve all its tests. They are booted by the first that
//! needs them and stay up, so that the next run is quick: `make test` takes
//! down those it booted, `qemu-scripts/vm down` does it by hand. A test has
//! both for itself for as long as it holds [`Guests`]; when it lets go, what it
//! started is ended and the kernel logs are read.
//!
//! One run is on one kernel, the one that `OVMIGRATE_TEST_KERNEL` names, and
//! takes one way to the guests' memory, `OVMIGRATE_TEST_ACCESS`.

mod access;
mod cli;
mod fresh;
mod guest;
mod guests;
mod job;
mod kernel;
mod kernel_log;
mod libvirt;
mod load;
mod programs;
mod seen;

use std::time::{Duration, Instant};

pub use cli::{Run, command, ovmigrate};
pub use fresh::FreshVm;
pub use guest::{Guest, LAST_PID};
pub use guests::{Guests, guests, guests_of};
pub use job::Job;
pub use kernel::{TestKernel, WITHOUT_RSEQ};
pub use kernel_log::KernelLog;
pub use libvirt::{LibvirtGuest, libvirt_guest};
pub use seen::{kept, not_kept, refused, unknown, works, works_on};

/// How long a guest that runs under TCG on a busy machine may take for what
/// takes milliseconds otherwise.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `happened` gives a value.
///
/// # Panics
///
/// After [`PATIENCE`], saying that `what` did not happen.
pub fn wait_for<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = happened() {
            return value;
        }
        assert!(Instant::now() < deadline, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How often to do what `full` times is enough for: a tenth, times
/// `OVMIGRATE_TEST_REPEATS` (10 for the full figure).
pub fn rounds(full: u32) -> u32 {
    let repeats: u32 = std::env::var("OVMIGRATE_TEST_REPEATS")
        .map_or(1, |repeats| repeats.parse().expect("OVMIGRATE_TEST_REPEATS is a number"));
    (full * repeats).div_ceil(10)
}
