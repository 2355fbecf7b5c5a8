//! The guest's clocks, as of the last time the kernel updated them.

use crate::kernel::{Kernel, KernelError};

use super::view::{Raw, Struct};

/// Clocks (`include/uapi/linux/time.h`).
const CLOCK_REALTIME: i32 = 0;
const CLOCK_BOOTTIME: i32 = 7;
const CLOCK_TAI: i32 = 11;

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
        /// How long a tick is meant to be, in units of 2^-32 ns.
        ntp_tick: u64 = ["ntp_tick"],
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

    /// Jiffies in a second: `HZ`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a tick that no kernel has.
    pub fn hz(&self) -> Result<u64, KernelError> {
        let tick = self.ntp_tick()? >> 32;
        hz_of(tick).ok_or_else(|| KernelError::Corrupt {
            what: "timekeeper.ntp_tick".into(),
            addr: self.addr(),
            why: format!("it is {tick} ns"),
        })
    }

    /// What a system clock shows, in nanoseconds at the same moment; a clock
    /// that is not known counts as `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    ///
    /// As [`monotonic`](Self::monotonic).
    pub fn clock(&self, clock: i32) -> Result<u64, KernelError> {
        let offset = match clock {
            CLOCK_REALTIME => self.offs_real()?,
            CLOCK_BOOTTIME => self.offs_boot()?,
            CLOCK_TAI => self.offs_tai()?,
            _ => 0,
        };
        Ok(self.monotonic()?.wrapping_add(offset))
    }

    /// `CLOCK_BOOTTIME` in nanoseconds at the same moment.
    ///
    /// # Errors
    ///
    /// As [`monotonic`](Self::monotonic).
    pub fn boottime(&self) -> Result<u64, KernelError> {
        self.clock(CLOCK_BOOTTIME)
    }
}

/// The frequency of ticks of so many nanoseconds, of those that x86 can be
/// configured with (`kernel/Kconfig.hz`): `adjtimex()` can make a tick a tenth
/// longer or shorter (`ntp_validate_timex()`).
fn hz_of(tick: u64) -> Option<u64> {
    const NSEC_PER_SEC: u64 = 1_000_000_000;
    [100, 250, 300, 1000].into_iter().min_by_key(|hz| tick.abs_diff(NSEC_PER_SEC / hz)).filter(
        |hz| {
            let wanted = NSEC_PER_SEC / hz;
            tick.abs_diff(wanted) <= wanted / 10
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_of_frequencies_that_kernels_have() {
        for (tick, hz) in [(10_000_000, 100), (4_000_000, 250), (3_333_333, 300), (1_000_000, 1000)]
        {
            assert_eq!(hz_of(tick), Some(hz));
        }
        // As `adjtimex()` may have it.
        assert_eq!(hz_of(4_100_000), Some(250));
        assert_eq!(hz_of(3_600_000), Some(300));
        for tick in [0, 2_000_000, u64::MAX] {
            assert_eq!(hz_of(tick), None);
        }
    }
}
