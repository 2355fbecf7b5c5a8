//! Attaching to a VM: from what a user calls it to a kernel that can be read
//! by name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::{Domain, DomainError, RamBlock};
use crate::kernel::{self, AttachOptions, InstanceId, Kernel, KernelError, ProfileCache};
use crate::linux::DECLARATIONS;
use crate::memory::{CpuPaging, GuestMemory, GuestPhys, MappedFile, MemoryError, Region};

/// Why a VM could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The VM cannot be found, reached or does not run.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// QEMU keeps a piece of RAM to itself.
    #[error(
        "VM {domain}: QEMU does not share its RAM at {addr}; start it with \
         -object memory-backend-memfd,id=ram,size=SIZE,share=on -machine memory-backend=ram"
    )]
    Unshared {
        /// The VM.
        domain: String,
        /// Where the piece begins in the guest.
        addr: GuestPhys,
    },
    /// A shared piece of RAM cannot be mapped.
    #[error("VM {domain}: cannot map its RAM at {addr}: {source}")]
    Map {
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
    /// Asking QEMU for the guest's RAM and mapping it.
    pub map: Duration,
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
        Self::open_with(spec, &ProfileCache::user())
    }

    /// As [`open`](Self::open), with a cache of the caller's.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn open_with(spec: &str, cache: &ProfileCache) -> Result<Self, AttachError> {
        let started = Instant::now();
        let domain = Domain::find(spec)?;
        domain.require_running()?;
        let find = started.elapsed();
        let memory = Arc::new(map_ram(&domain)?);
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
        let report = AttachReport { find, map, kernel: report };
        tracing::info!(
            "attached to VM {} in {:.1?} (find {:.1?}, map {:.1?}, kernel {:.1?}, {})",
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

fn map_ram(domain: &Domain) -> Result<GuestMemory, AttachError> {
    let blocks = domain.ram_blocks()?;
    let regions = blocks.iter().map(|block| map_block(domain, block));
    GuestMemory::new(regions.collect::<Result<_, _>>()?)
        .map_err(|source| AttachError::Memory { domain: domain.name().to_owned(), source })
}

fn map_block(domain: &Domain, block: &RamBlock) -> Result<Region, AttachError> {
    let (name, addr) = (|| domain.name().to_owned(), GuestPhys::new(block.guest_phys));
    let Some(shared) = &block.backing else {
        return Err(AttachError::Unshared { domain: name(), addr });
    };
    let backing = MappedFile::new(shared.open()?, shared.offset, block.len)
        .map_err(|source| AttachError::Map { domain: name(), addr, source })?;
    Ok(Region { start: addr, len: block.len, backing: Box::new(backing) })
}
