//! Attaching to a VM: from what a user calls it to a kernel that can be read
//! by name.

mod ladder;
mod stranger;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::{Domain, DomainError};
use crate::kernel::{
    self, AttachOptions, Found, InstanceId, Kernel, KernelError, Knowledge, Profile,
};
use crate::linux::DECLARATIONS;
use crate::memory::{Access, CpuPaging, GuestMemory, GuestPhys, MemoryError};

/// Why a VM could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The VM cannot be found, reached or does not run.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// QEMU keeps a piece of RAM to itself that was to be mapped.
    #[error(
        "VM {domain}: QEMU does not share its RAM at {addr}, so that it cannot be mapped; leave \
         out --access map, or start QEMU with \
         -object memory-backend-memfd,id=ram,size=SIZE,share=on -machine memory-backend=ram"
    )]
    Unshared {
        /// The VM.
        domain: String,
        /// Where the piece begins in the guest.
        addr: GuestPhys,
    },
    /// A piece of RAM cannot be reached.
    #[error("VM {domain}: cannot reach its RAM at {addr}: {source}")]
    Reach {
        /// The VM.
        domain: String,
        /// Where the piece begins in the guest.
        addr: GuestPhys,
        /// What the host said.
        source: std::io::Error,
    },
    /// The pieces of RAM do not fit together.
    #[error("VM {domain}: {source}")]
    Memory {
        /// The VM.
        domain: String,
        /// How.
        source: MemoryError,
    },
    /// No Linux kernel runs in the guest.
    #[error("VM {domain}: no running x86-64 Linux was found; {what}")]
    NoLinux {
        /// The VM.
        domain: String,
        /// What it runs instead, as far as can be seen.
        what: String,
    },
    /// The guest kernel cannot be understood.
    #[error("VM {domain}: {source}")]
    Kernel {
        /// The VM.
        domain: String,
        /// Why.
        source: KernelError,
    },
}

/// Which way to the guest's memory is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessChoice {
    /// RAM that QEMU shares is mapped, other RAM is reached through the QEMU
    /// process.
    #[default]
    Auto,
    /// All RAM is mapped.
    Map,
    /// All RAM is reached through the QEMU process.
    Process,
}

/// A VM whose kernel can be read.
#[derive(Debug)]
pub struct Attachment {
    /// The VM as the host sees it.
    pub domain: Domain,
    /// The kernel that runs in it.
    pub kernel: Kernel,
    /// How the attach went.
    pub report: AttachReport,
}

/// What an attach spent its time on.
#[derive(Clone, Debug)]
pub struct AttachReport {
    /// Finding the QEMU process and connecting to its monitor.
    pub find: Duration,
    /// Asking QEMU for the guest's RAM and opening it.
    pub map: Duration,
    /// How that is reached.
    pub access: Access,
    /// Finding the kernel.
    pub kernel: kernel::AttachReport,
}

impl AttachReport {
    /// From beginning to end.
    pub fn total(&self) -> Duration {
        self.find + self.map + self.kernel.durations.total
    }
}

impl Attachment {
    /// Attaches to a running VM, by anything that [`Domain::find`] takes. What
    /// is learned of the kernel is kept in the user's cache.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn open(spec: &str) -> Result<Self, AttachError> {
        Self::open_with(spec, &Knowledge::user(), AccessChoice::Auto)
    }

    /// As [`open`](Self::open), with what the caller knows of kernels and a way
    /// to the memory of the caller's choice.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn open_with(
        spec: &str,
        knowledge: &Knowledge,
        choice: AccessChoice,
    ) -> Result<Self, AttachError> {
        let (domain, guest) = Guest::find(spec, knowledge, choice)?;
        let report = guest.report.clone();
        let kernel = guest.into_kernel(&domain)?;
        tracing::info!(
            "attached to VM {} by way of {} in {:.1?} (find {:.1?}, memory {:.1?}, kernel {:.1?}, profile {})",
            domain.name(),
            report.access,
            report.total(),
            report.find,
            report.map,
            report.kernel.durations.total,
            report.kernel.profile_from,
        );
        Ok(Self { domain, kernel, report })
    }
}

/// The profile of the kernel that runs in a VM, whether or not it is enough to
/// read the kernel by.
///
/// # Errors
///
/// See [`AttachError`].
pub fn find_profile(
    spec: &str,
    knowledge: &Knowledge,
    choice: AccessChoice,
) -> Result<Arc<Profile>, AttachError> {
    Ok(Guest::find(spec, knowledge, choice)?.1.found.profile)
}

/// The kernel of a running VM that was found, with what the user's cache holds of it.
///
/// # Errors
///
/// See [`AttachError`].
pub fn kernel_of(domain: &Domain) -> Result<Kernel, AttachError> {
    Guest::of(domain, &Knowledge::user(), AccessChoice::Auto)?.into_kernel(domain)
}

/// A VM whose kernel was found.
struct Guest {
    memory: Arc<GuestMemory>,
    found: Found,
    report: AttachReport,
}

impl Guest {
    fn find(
        spec: &str,
        knowledge: &Knowledge,
        choice: AccessChoice,
    ) -> Result<(Domain, Self), AttachError> {
        let started = Instant::now();
        let domain = Domain::find(spec)?;
        domain.require_readable()?;
        let find = started.elapsed();
        let mut guest = Self::of(&domain, knowledge, choice)?;
        guest.report.find = find;
        Ok((domain, guest))
    }

    fn of(
        domain: &Domain,
        knowledge: &Knowledge,
        choice: AccessChoice,
    ) -> Result<Self, AttachError> {
        let started = Instant::now();
        domain.require_readable()?;
        let memory = Arc::new(ladder::open_ram(domain, choice)?);
        let access = memory.access();
        let map = started.elapsed();
        let options = AttachOptions {
            declarations: &DECLARATIONS,
            knowledge,
            // Without a start time the VM's cache entry is not used, nothing else.
            instance: InstanceId::of_process(domain.process().pid()).ok(),
            cpus: &|| cpu_paging(domain),
        };
        let found = kernel::find(&memory, &options).map_err(|source| {
            let name = domain.name().to_owned();
            match source {
                KernelError::NotFound { .. } => {
                    AttachError::NoLinux { domain: name, what: stranger::describe(domain, &memory) }
                }
                source => AttachError::Kernel { domain: name, source },
            }
        })?;
        let kernel = found.report.clone();
        let report = AttachReport { find: Duration::ZERO, map, access, kernel };
        Ok(Self { memory, found, report })
    }

    fn into_kernel(self, domain: &Domain) -> Result<Kernel, AttachError> {
        let Found { located, profile, .. } = self.found;
        Kernel::new(self.memory, located, profile, &DECLARATIONS)
            .map_err(|source| AttachError::Kernel { domain: domain.name().to_owned(), source })
    }
}

/// The page tables that the vCPUs use. A monitor that does not tell is no
/// obstacle: there are other ways to the kernel.
fn cpu_paging(domain: &Domain) -> Vec<CpuPaging> {
    let registers = domain.control_registers().unwrap_or_else(|error| {
        tracing::debug!("VM {}: {error}", domain.name());
        Vec::new()
    });
    let paging = registers
        .iter()
        .filter_map(|cpu| CpuPaging::from_registers(cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer));
    paging.collect()
}
