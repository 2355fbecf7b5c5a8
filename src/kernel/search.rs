//! The search for the kernel that runs: where it was before, where the CPUs
//! are, and only then everywhere.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::memory::{GuestMemory, GuestPhys};

use super::attach::{AttachOptions, FoundBy};
use super::btf::{BTF_MAX, Btf};
use super::cache::StoredProfile;
use super::error::KernelError;
use super::evidence::Evidence;
use super::fit;
use super::image::Located;
use super::image_copy::ImageCopy;
use super::kallsyms::Kallsyms;
use super::profile::Profile;
use super::resolve::{as_linked, structs, symbol_names};
use super::sighting::Sighting;
use super::vcpu;
use super::vmcoreinfo::{self, VmcoreInfo};

/// Kernels that are looked at in full at most. A guest can claim as many as it
/// has pages, each of which costs some tenths of a second.
const KERNELS_MAX: usize = 8;

/// The kernel that runs.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) located: Located,
    pub(super) profile: Profile,
    pub(super) from_cache: bool,
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
        let sighting = self.options.cache.sighting(self.options.instance?)?;
        if !sighting.is_mapped(self.memory) {
            debug!("kernel {} is not where it was", sighting.release);
            return None;
        }
        self.look_at(sighting, FoundBy::Cache, None)
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
                        let seen = self.look_at(sighting, FoundBy::Cpu, Some(copy));
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
        Ok(self.look_at(sighting, FoundBy::Vmcoreinfo(page), None))
    }

    /// Looks at a kernel in full, unless that was done before. Why it is not
    /// the one that runs is kept.
    fn look_at(
        &mut self,
        sighting: Sighting,
        found_by: FoundBy,
        copy: Option<ImageCopy>,
    ) -> Option<Seen> {
        if self.refused.iter().any(|(known, _)| *known == sighting) {
            return None;
        }
        match self.verify(&sighting, found_by, copy) {
            Ok(seen) => {
                if let Some(instance) = self.options.instance
                    && found_by != FoundBy::Cache
                {
                    self.options.cache.keep_sighting(instance, &sighting);
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

    fn verify(
        &self,
        sighting: &Sighting,
        found_by: FoundBy,
        copy: Option<ImageCopy>,
    ) -> Result<Seen, KernelError> {
        if !sighting.is_mapped(self.memory) {
            return Err(KernelError::NotRunning("its page tables do not map it"));
        }
        let started = Instant::now();
        let stored = self.stored_profile(sighting)?;
        let from_cache = stored.is_some();
        let profile = match stored {
            Some(profile) => profile,
            None => self.build_profile(sighting, copy)?,
        };
        let profile_time = started.elapsed();
        let located = sighting.located;
        fit::check(&located.space(self.memory), located, &profile)?;
        Ok(Seen { located, profile, from_cache, found_by, profile_time })
    }

    /// The profile that the cache holds for exactly this kernel.
    fn stored_profile(&self, sighting: &Sighting) -> Result<Option<Profile>, KernelError> {
        let Some(build_id) = &sighting.build_id else { return Ok(None) };
        let Some(stored) = self.options.cache.profile(build_id, self.options.declarations) else {
            return Ok(None);
        };
        let profile = stored.profile;
        let same = profile.release == sighting.release && profile.build_id == *build_id;
        if same && stored.evidence.fits(self.memory, sighting.located)? {
            return Ok(Some(profile));
        }
        debug!("the stored profile of {build_id} is of another kernel");
        Ok(None)
    }

    fn build_profile(
        &self,
        sighting: &Sighting,
        copy: Option<ImageCopy>,
    ) -> Result<Profile, KernelError> {
        let located = sighting.located;
        let image = match copy {
            Some(copy) => copy,
            None => {
                let phys = located.image_phys(sighting.image.start);
                ImageCopy::read(self.memory, phys, sighting.image.clone())?
            }
        };
        let kallsyms = match &sighting.kallsyms {
            Some(tables) => Kallsyms::open(&image, tables)?,
            None => Kallsyms::search(&image)?,
        };
        let declarations = self.options.declarations;
        let mut symbols = kallsyms.find(symbol_names(declarations).chain(BTF_BOUNDS))?;
        let [start, end] =
            BTF_BOUNDS.map(|name| symbols.remove(name).map(crate::memory::GuestVirt::new));
        let types = start.zip(end).map(|(start, end)| start..end);
        let types = types.ok_or(KernelError::Btf("it was built without CONFIG_DEBUG_INFO_BTF"))?;
        let blob = image.range(types.start, types.end);
        let blob = blob.filter(|blob| blob.len() as u64 <= BTF_MAX);
        let btf = Btf::parse(blob.ok_or(KernelError::Btf("its bounds make no sense"))?)?;
        let profile = Profile {
            release: sighting.release.clone(),
            build_id: sighting.build_id.clone().unwrap_or_default(),
            origin: "BTF and kallsyms in guest memory".to_owned(),
            symbols: as_linked(&symbols, located.kaslr_offset),
            structs: structs(&btf, declarations),
        };
        let mut parts = kallsyms.parts().to_vec();
        parts.push(types);
        if let Some(evidence) = Evidence::of(&image, located.kaslr_offset, &parts) {
            let stored = StoredProfile { evidence, profile };
            self.options.cache.keep_profile(&stored, declarations);
            return Ok(stored.profile);
        }
        Ok(profile)
    }
}

/// What `vmlinux.lds.h` calls the ends of the kernel's types.
const BTF_BOUNDS: [&str; 2] = ["__start_BTF", "__stop_BTF"];
