//! What a process has set for its memory as a whole: `MMF_*` in
//! `include/linux/mm_types.h`, `include/linux/sched/coredump.h` before 6.18.

use crate::kernel::KernelError;

use super::mm::Mm;

bitflags::bitflags! {
    /// What `prctl()` has set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MmSettings: u8 {
        /// No huge pages (`PR_SET_THP_DISABLE`).
        const THP_DISABLED = 1;
        /// None but where they were asked for (`PR_THP_DISABLE_EXCEPT_ADVISED`).
        const THP_IF_ADVISED = 2;
        /// Nothing comes to be executable that was writable (`PR_SET_MDWE`).
        const DENIES_WRITE_EXEC = 4;
        /// All equal pages are merged (`PR_SET_MEMORY_MERGE`).
        const MERGES_PAGES = 8;
    }
}

impl MmSettings {
    /// By the bits of `mm_struct.flags`. Those from 28 on said something else
    /// before 6.4, as bit 23 did before 6.18.
    fn of(flags: u64, since_6_4: bool, since_6_18: bool) -> Self {
        let has = |bit: u32| flags >> bit & 1 != 0;
        // Bit 29 was that of merging in 6.4 and 6.5. Since 6.6 it belongs to bit
        // 28 and is never set alone (`PR_MDWE_NO_INHERIT`).
        let merges = has(30) || (has(29) && !has(28));
        let mut settings = Self::empty();
        settings.set(Self::THP_DISABLED, has(24));
        settings.set(Self::THP_IF_ADVISED, since_6_18 && has(23));
        settings.set(Self::DENIES_WRITE_EXEC, since_6_4 && has(28));
        settings.set(Self::MERGES_PAGES, since_6_4 && merges);
        settings
    }
}

impl Mm<'_> {
    /// What a core dump holds of it: the bits of `/proc/PID/coredump_filter`
    /// (`MMF_DUMP_FILTER_MASK`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn dump_filter(&self) -> Result<u64, KernelError> {
        Ok(self.flags()? >> 2 & 0x1ff)
    }

    /// What the process has set for its memory as a whole.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn settings(&self) -> Result<MmSettings, KernelError> {
        let since_6_4 = self.lock_seq()?.is_some();
        Ok(MmSettings::of(self.flags()?, since_6_4, self.typed_flags()?.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_as_the_kernel_numbers_them() {
        let bits = 1 << 23 | 1 << 24 | 1 << 28;
        let before = MmSettings::THP_DISABLED;
        assert_eq!(MmSettings::of(bits, false, false), before);
        let later = before | MmSettings::DENIES_WRITE_EXEC;
        assert_eq!(MmSettings::of(bits, true, false), later);
        assert_eq!(MmSettings::of(bits, true, true), later | MmSettings::THP_IF_ADVISED);
    }

    #[test]
    fn merging_is_told_from_what_is_not_inherited() {
        let of = |bits| MmSettings::of(bits, true, true);
        assert_eq!(of(1 << 30), MmSettings::MERGES_PAGES);
        assert_eq!(of(1 << 29), MmSettings::MERGES_PAGES);
        assert_eq!(of(1 << 28 | 1 << 29), MmSettings::DENIES_WRITE_EXEC);
    }
}
