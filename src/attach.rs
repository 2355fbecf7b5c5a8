//! Attaching to a VM: from what a user calls it to a kernel that can be read
//! by name.

mod ladder;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::{Domain, DomainError};
use crate::kernel::{self, AttachOptions, InstanceId, Kernel, KernelError, ProfileCache};
use crate::linux::DECLARATIONS;
use crate::memory::{Access, CpuPaging, GuestPhys, MemoryError};

/// Why a VM could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The VM cannot be found, reached or does not run.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// QEMU keeps a piece of RAM to itself that was to be mapped.
    #[error(
        "VM {domain}: QEMU does not share its RAM at {addr}, so that it cannot be mapped; leave \
         the way to the memory to ovmigrate, or start QEMU with \
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
    /// The guest kernel cannot be found or understood.
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
#[derive(Clone, Copy, Debug)]
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
        Self::open_with(spec, &ProfileCache::user(), AccessChoice::Auto)
    }

    /// As [`open`](Self::open), with a cache and a way to the memory of the
    /// caller's choice.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn open_with(
        spec: &str,
        cache: &ProfileCache,
        choice: AccessChoice,
    ) -> Result<Self, AttachError> {
        let started = Instant::now();
        let domain = Domain::find(spec)?;
        domain.require_running()?;
        let find = started.elapsed();
        let memory = Arc::new(ladder::open_ram(&domain, choice)?);
        let access = memory.access();
        let map = started.elapsed() - find;
        // Without a start time the VM's cache entry is not used, nothing else.
        let instance = InstanceId::of_process(domain.process().pid()).ok();
        let options = AttachOptions {
            declarations: &DECLARATIONS,
            cache,
            instance,
            cpus: &|| cpu_paging(&domain),
        };
        let (kernel, report) = Kernel::attach(memory, &options)
            .map_err(|source| AttachError::Kernel { domain: domain.name().to_owned(), source })?;
        let report = AttachReport { find, map, access, kernel: report };
        tracing::info!(
            "attached to VM {} by way of {access} in {:.1?} (find {:.1?}, memory {:.1?}, kernel {:.1?}, {})",
            domain.name(),
            report.total(),
            report.find,
            report.map,
            report.kernel.durations.total,
            if report.kernel.from_cache { "profile from the cache" } else { "profile built" },
        );
        Ok(Self { domain, kernel, report })
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
