//! The CPUs of the machine that processes ran on.

use serde::{Deserialize, Serialize};

/// What a process can use of a CPU, and may have found out that it can.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// Who made it, as CPUID has it: `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    /// Family.
    pub family: u32,
    /// Model.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// What it calls itself.
    pub model_name: String,
    /// Capabilities as the kernel has them, `X86_FEATURE_*`, 32 in a word.
    pub capabilities: Vec<u32>,
    /// Bytes of an XSAVE area with all states that processes have.
    pub xsave_size: u32,
}
