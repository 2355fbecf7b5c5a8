//! What goes wrong between guest memory and typed structures.

use crate::memory::{GuestVirt, MemoryError};

/// Why the guest kernel could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Guest memory could not be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Guest memory could not be read while reading a structure.
    #[error("cannot read {what} at {addr}: {source}")]
    Read {
        /// The structure and field, or the object.
        what: String,
        /// Its guest-virtual address.
        addr: GuestVirt,
        /// Why.
        source: MemoryError,
    },
    /// A value is not one that a sane kernel holds there.
    #[error("{what} at {addr} is corrupt: {why}")]
    Corrupt {
        /// The structure or list.
        what: String,
        /// Its guest-virtual address.
        addr: GuestVirt,
        /// What is wrong with it.
        why: String,
    },
    /// No kernel runs in this memory.
    #[error(
        "no running Linux kernel found in guest memory, neither by what its CPUs map nor by \
         VMCOREINFO ({claims} pages looked like it): \
         the guest is still booting, runs another system, or its memory is encrypted"
    )]
    NotFound {
        /// Pages that looked like VMCOREINFO.
        claims: usize,
    },
    /// What claims to be VMCOREINFO is not that of a running kernel.
    #[error("VMCOREINFO in guest memory is not of a running kernel: {0}")]
    Vmcoreinfo(&'static str),
    /// What was found is not the kernel that runs.
    #[error("the kernel found in guest memory is not the one that runs: {0}")]
    NotRunning(&'static str),
    /// The kernel's symbol tables cannot be read.
    #[error("the guest kernel's symbol tables (kallsyms) cannot be read: {0}")]
    Kallsyms(&'static str),
    /// The kernel's type information cannot be read.
    #[error("the guest kernel's type information (BTF) cannot be read: {0}")]
    Btf(&'static str),
    /// The kernel lacks a declared field.
    #[error("kernel {release}: struct {structure} has none of: {}", paths.join(", "))]
    MissingField {
        /// `uname -r` of the guest.
        release: String,
        /// The structure.
        structure: &'static str,
        /// The paths that were tried.
        paths: &'static [&'static str],
    },
    /// The kernel lacks a declared structure.
    #[error("kernel {release} has no struct {structure}")]
    MissingStruct {
        /// `uname -r` of the guest.
        release: String,
        /// The structure.
        structure: &'static str,
    },
    /// The kernel lacks a declared symbol.
    #[error("kernel {release} has no symbol: {}", names.join(", "))]
    MissingSymbol {
        /// `uname -r` of the guest.
        release: String,
        /// The names that were tried.
        names: &'static [&'static str],
    },
}
