//! What of the guest's CPU must be as in the source.

/// What of a CPU is compared, as CRIU calls it (`--cpu-cap`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuCap {
    /// `ins`: it can do all that the other can do. Programs look at what it can once
    /// and rely on it.
    pub instructions: bool,
    /// `fpu`: it keeps the same state of processes, in as much memory. What saves
    /// registers into memory of its own has found out how much that takes.
    pub fpu: bool,
}

impl Default for CpuCap {
    fn default() -> Self {
        Self { instructions: true, fpu: false }
    }
}

impl CpuCap {
    /// Nothing is compared.
    pub const NONE: Self = Self { instructions: false, fpu: false };

    /// The option of CRIU for what it has to compare, unless the images tell nothing
    /// that it knows of the CPU. Of instructions it asks the CPU itself, which may
    /// not tell of what kernels know. It compares more unless told "none" first, and
    /// takes names without a comma between (`parse_cpu_cap()`, `criu/config.c`).
    pub(super) fn option(self, knows_cpu: bool) -> Option<&'static str> {
        (self.fpu && knows_cpu).then_some("--cpu-cap=nonefpu")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criu_is_told_what_to_compare() {
        let both = CpuCap { instructions: true, fpu: true };
        assert_eq!(both.option(true), Some("--cpu-cap=nonefpu"));
        assert_eq!(both.option(false), None);
        assert_eq!(CpuCap::default().option(true), None);
        assert_eq!(CpuCap::NONE.option(true), None);
    }
}
