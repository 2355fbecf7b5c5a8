//! This guest kernel's image: its symbols, its types and where it lies.
//!
//! The rooms above declare what they read ([`Declarations`]); discovery
//! resolves that into a [`Profile`] from what the guest's own memory holds, and
//! [`Kernel`] reads memory by it. [`Kernel::attach`] goes the whole way:
//!
//! ```text
//! where it was before, a vCPU's page tables, or VMCOREINFO --> kernel image
//!                                                                  |
//!            kallsyms (told or searched), BTF <--------copy--------+
//!                          |
//! Declarations --resolve-> Profile --check--> Kernel
//!                          |   ^
//!                          v   | same digest of the same tables
//!                         ProfileCache
//! ```
//!
//! No file of the guest's kernel is needed and no version number is looked at.

mod attach;
mod banner;
pub mod btf;
mod build_id;
mod cache;
mod choose;
mod declare;
mod dwarf;
mod error;
mod evidence;
mod fit;
mod functions;
mod image;
mod image_copy;
pub mod kallsyms;
mod knowledge;
mod known;
mod layout;
mod library;
mod lookup;
mod options;
mod profile;
mod profile_file;
mod resolve;
mod search;
mod sighting;
#[cfg(test)]
mod tests;
mod types;
mod vcpu;
pub mod vmcoreinfo;
mod vmlinux;
mod wanted;

pub use attach::{AttachDurations, AttachReport, Found, find};
pub use cache::{InstanceId, ProfileCache};
pub use choose::ProfileFrom;
pub use declare::{Declarations, FieldDecl, StructDecl, SymbolDecl};
pub use error::KernelError;
pub use image::{BASE_SYMBOLS, Kernel, Located, Member, StructLayout};
pub use image_copy::ImageCopy;
pub use knowledge::{GivenProfile, Knowledge};
pub use known::{KnownProfile, Place};
pub use library::ProfileLibrary;
pub use lookup::{Looked, lookup};
pub use options::AttachOptions;
pub use profile::{Bits, Origin, Profile, ProfileMember, ProfileStruct};
pub use search::FoundBy;
pub use vmlinux::{VmlinuxError, build_profile, kernel_image};
