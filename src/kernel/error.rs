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
    /// A path cannot be read for now.
    #[error(
        "the guest is moving a file to another name, or a mount to another place, and does not \
         get to finish it; try again"
    )]
    Moving,
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
    /// Neither the guest's memory nor a stored profile tells the kernel's types.
    #[error(
        "kernel {release} (build ID {build_id}) tells no types ({why}) and no stored profile is \
         of its build; make one by `ovmigrate profile build --vmlinux FILE` and give it with \
         --profile"
    )]
    NoTypes {
        /// `uname -r` of the guest.
        release: String,
        /// Its build ID; empty where it has none.
        build_id: String,
        /// What is wrong with the types in memory.
        why: Box<KernelError>,
    },
    /// A given profile is of another kernel.
    #[error(
        "the profile is of kernel {} (build ID {}), the guest runs {} (build ID {}); \
         --force-profile uses its layouts all the same", of.0, of.1, runs.0, runs.1
    )]
    OtherBuild {
        /// Release and build ID of the profile.
        of: (String, String),
        /// Release and build ID of the guest's kernel.
        runs: (String, String),
    },
    /// A stored profile claims to be of this build, and is not.
    #[error(
        "the profile has {symbol} elsewhere than the kernel that runs: it is not of this build, \
         whatever its build ID says"
    )]
    OtherSymbols {
        /// The symbol.
        symbol: String,
    },
    /// The debug information of a kernel file cannot be read.
    #[error("the kernel's debug information (DWARF) cannot be read: {0}")]
    Dwarf(#[from] gimli::Error),
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
