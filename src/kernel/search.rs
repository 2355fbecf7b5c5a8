//! The search for the kernel that runs: where it was before, where the CPUs
//! are, and only then everywhere.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::memory::{GuestMemory, GuestPhys};

use super::cache::Remembered;
use super::choose::{Chooser, Chosen, Known, ProfileFrom};
use super::error::KernelError;
use super::fit;
use super::image::Located;
use super::options::AttachOptions;
use super::profile::Profile;
use super::sighting::Sighting;
use super::vcpu;
use super::vmcoreinfo::{self, VmcoreInfo};

/// Kernels that are looked at in full at most. A guest can claim as many as it
/// has pages, each of which costs some tenths of a second.
const KERNELS_MAX: usize = 8;

/// What led to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// It is where it was when the VM was last looked at.
    Cache,
    /// The page tables of a virtual CPU map it.
    Cpu,
    /// Its VMCOREINFO, which lies here.
    Vmcoreinfo(GuestPhys),
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache => f.write_str("where it was before"),
            Self::Cpu => f.write_str("a vCPU's page tables"),
            Self::Vmcoreinfo(page) => write!(f, "VMCOREINFO at guest-physical {page}"),
        }
    }
}

/// The kernel that runs.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) located: Located,
    pub(super) profile: Profile,
    pub(super) profile_from: ProfileFrom,
    pub(super) found_by: FoundBy,
    /// How long the profile took.
    pub(super) profile_time: Duration,
}

/// One attach.
pub(super) struct Search<'a> {
    memory: &'a Arc<GuestMemory>,
    options: &'a AttachOptions<'a>,
    /// Kernels that were looked at in full and are not it, and why.
    refused: Vec<(Sighting, KernelError)>,
    /// Images that were looked at and could not be read, and why.
    unread: Vec<(vcpu::MappedImage, KernelError)>,
    /// Pages that looked like VMCOREINFO.
    claims: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(memory: &'a Arc<GuestMemory>, options: &'a AttachOptions<'a>) -> Self {
        Self { memory, options, refused: Vec::new(), unread: Vec::new(), claims: 0 }
    }

    pub(super) fn run(mut self) -> Result<Seen, KernelError> {
        if let Some(seen) = self.remembered() {
            return Ok(seen);
        }
        self.refused.clear();
        if let Some(seen) = self.by_cpus() {
            return Ok(seen);
        }
        if let Some(seen) = self.by_vmcoreinfo() {
            return Ok(seen);
        }
        Err(self.failure())
    }

    /// What is wrong with a kernel that runs tells more than what is wrong with
    /// a claim.
    fn failure(self) -> KernelError {
        let refused = self.refused.into_iter().map(|(_, error)| error);
        let unread = self.unread.into_iter().map(|(_, error)| error);
        refused
            .chain(unread)
            .find(|error| !matches!(error, KernelError::NotRunning(_) | KernelError::Memory(_)))
            .unwrap_or(KernelError::NotFound { claims: self.claims })
    }

    fn remembered(&mut self) -> Option<Seen> {
        let cache = &self.options.knowledge.cache;
        let Remembered { sighting, evidence } = cache.remembered(self.options.instance?)?;
        if !sighting.is_mapped(self.memory) {
            debug!("kernel {} is not where it was", sighting.release);
            return None;
        }
        self.look_at(sighting, FoundBy::Cache, Known { copy: None, evidence })
    }

    /// Tries every kernel image that is mapped where a CPU executes.
    fn by_cpus(&mut self) -> Option<Seen> {
        for cpu in (self.options.cpus)() {
            for image in vcpu::images(self.memory, cpu) {
                if self.refused.len() + self.unread.len() >= KERNELS_MAX {
                    return None;
                }
                if self.unread.iter().any(|(known, _)| known.is_same(&image)) {
                    continue;
                }
                match image.sight(self.memory) {
                    Ok((sighting, copy)) => {
                        let known = Known { copy: Some(copy), evidence: None };
                        let seen = self.look_at(sighting, FoundBy::Cpu, known);
                        if seen.is_some() {
                            return seen;
                        }
                    }
                    Err(error) => {
                        debug!("what a vCPU maps as kernel image at {}: {error}", image.start());
                        self.unread.push((image, error));
                    }
                }
            }
        }
        None
    }

    /// Tries every page that looks like VMCOREINFO.
    fn by_vmcoreinfo(&mut self) -> Option<Seen> {
        let memory = self.memory.clone();
        let found = vmcoreinfo::scan(&memory, |page| {
            self.claims += 1;
            match self.claim(page) {
                Ok(Some(seen)) => ControlFlow::Break(Some(seen)),
                _ if self.refused.len() >= KERNELS_MAX => ControlFlow::Break(None),
                Ok(None) => ControlFlow::Continue(()),
                Err(error) => {
                    debug!("VMCOREINFO at {page}: {error}");
                    ControlFlow::Continue(())
                }
            }
        });
        found.flatten()
    }

    fn claim(&mut self, page: GuestPhys) -> Result<Option<Seen>, KernelError> {
        let info = VmcoreInfo::read(self.memory, page)?;
        let located = info.locate(self.memory)?;
        let sighting = info.sighting(located);
        Ok(self.look_at(sighting, FoundBy::Vmcoreinfo(page), Known::default()))
    }

    /// Looks at a kernel in full, unless that was done before. Why it is not
    /// the one that runs is kept.
    fn look_at(&mut self, sighting: Sighting, found_by: FoundBy, known: Known) -> Option<Seen> {
        if self.refused.iter().any(|(known, _)| *known == sighting) {
            return None;
        }
        let before = known.evidence.clone();
        match self.verify(&sighting, found_by, known) {
            Ok((seen, evidence)) => {
                if let Some(instance) = self.options.instance
                    && (found_by != FoundBy::Cache || evidence != before)
                {
                    let remembered = Remembered { sighting, evidence };
                    self.options.knowledge.cache.remember(instance, &remembered);
                }
                Some(seen)
            }
            Err(error) => {
                debug!("kernel {}: {error}", sighting.release);
                self.refused.push((sighting, error));
                None
            }
        }
    }

    /// The kernel, and the digest of the evidence that it was found to hold.
    fn verify(
        &self,
        sighting: &Sighting,
        found_by: FoundBy,
        known: Known,
    ) -> Result<(Seen, Option<String>), KernelError> {
        if !sighting.is_mapped(self.memory) {
            return Err(KernelError::NotRunning("its page tables do not map it"));
        }
        let started = Instant::now();
        let chosen = Chooser::new(self.memory, self.options, sighting, known).choose()?;
        let profile_time = started.elapsed();
        let Chosen { located, profile, from: profile_from, evidence } = chosen;
        fit::check(&located.space(self.memory), located, &profile)?;
        Ok((Seen { located, profile, profile_from, found_by, profile_time }, evidence))
    }
}
