//! The guest's clocks, as of the last time the kernel updated them.

use crate::kernel::{Kernel, KernelError};

use super::view::{Raw, Struct};

kernel_struct! {
    /// The kernel's clock: `struct timekeeper`.
    pub struct Timekeeper: "timekeeper" {
        /// `CLOCK_MONOTONIC` at `cycle_last`, in whole nanoseconds.
        base: u64 = ["tkr_mono.base"],
        /// The fraction, in units of 2^-`shift` ns.
        xtime_nsec: u64 = ["tkr_mono.xtime_nsec"],
        /// See `xtime_nsec`.
        shift: u32 = ["tkr_mono.shift"],
        /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, in nanoseconds.
        offs_real: u64 = ["offs_real"],
        /// `CLOCK_BOOTTIME` minus `CLOCK_MONOTONIC`, in nanoseconds.
        offs_boot: u64 = ["offs_boot"],
        /// `CLOCK_TAI` minus `CLOCK_MONOTONIC`, in nanoseconds.
        offs_tai: u64 = ["offs_tai"],
    }
}

kernel_struct! {
    /// `tk_core` up to 6.12, an element of `timekeeper_data` in 7.2: the
    /// timekeeper behind its lock or sequence count.
    (optional) pub struct TkData: "tk_data" {
        /// Where the timekeeper is.
        timekeeper: Raw = ["timekeeper"],
    }
}

impl<'k> Timekeeper<'k> {
    /// The timekeeper that `CLOCK_MONOTONIC` is read from.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingSymbol`].
    pub fn core(kernel: &'k Kernel) -> Result<Self, KernelError> {
        let addr = super::symbol(kernel, "timekeeper")?;
        let data = TkData::at(kernel, addr)?;
        let addr = match data.place("timekeeper") {
            Ok(place) => place.addr(),
            // `tk_core` is an anonymous struct { seqcount_raw_spinlock_t;
            // struct timekeeper; }, the latter aligned to 8 bytes.
            Err(_) => addr.wrapping_add(8),
        };
        Self::at(kernel, addr)
    }

    /// `CLOCK_MONOTONIC` in nanoseconds at the last update: at most a tick ago
    /// on a CPU that was not idle.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a shift no clock source has.
    pub fn monotonic(&self) -> Result<u64, KernelError> {
        let fraction = self.xtime_nsec()?.checked_shr(self.shift()?);
        let fraction = fraction.ok_or_else(|| KernelError::Corrupt {
            what: "timekeeper.shift".into(),
            addr: self.addr(),
            why: "it is 64 or more".into(),
        })?;
        Ok(self.base()?.wrapping_add(fraction))
    }

    /// `CLOCK_BOOTTIME` in nanoseconds at the same moment.
    ///
    /// # Errors
    ///
    /// As [`monotonic`](Self::monotonic).
    pub fn boottime(&self) -> Result<u64, KernelError> {
        Ok(self.monotonic()?.wrapping_add(self.offs_boot()?))
    }
}
