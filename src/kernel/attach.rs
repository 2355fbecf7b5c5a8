//! From guest memory to a kernel that can be read by name.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::memory::{AddressSpace, GuestMemory, GuestPhys};

use super::btf::{BTF_MAX, Btf};
use super::cache::{InstanceId, ProfileCache, StoredProfile};
use super::declare::Declarations;
use super::error::KernelError;
use super::evidence::Evidence;
use super::fit;
use super::image::{Kernel, Located};
use super::image_copy::ImageCopy;
use super::kallsyms::Kallsyms;
use super::profile::Profile;
use super::resolve::resolve;
use super::vmcoreinfo::{self, VmcoreInfo};

/// Kernels that are looked at in full at most. A guest can claim as many as it
/// has pages, each of which costs some tenths of a second.
const KERNELS_MAX: usize = 8;

/// How an attach went.
#[derive(Clone, Copy, Debug)]
pub struct AttachReport {
    /// Whether the profile came from the cache.
    pub from_cache: bool,
    /// Where the running kernel's VMCOREINFO lies.
    pub vmcoreinfo: GuestPhys,
    /// What took how long.
    pub durations: AttachDurations,
}

/// What an attach spent its time on.
#[derive(Clone, Copy, Debug)]
pub struct AttachDurations {
    /// Finding VMCOREINFO and all else that is not counted below.
    pub find: Duration,
    /// Loading the profile and comparing it with the kernel, or building it.
    pub profile: Duration,
    /// From beginning to end.
    pub total: Duration,
}

impl Kernel {
    /// Finds the kernel that runs in `memory`, with what `cache` knows of the
    /// VM `instance` and of kernels, and resolves `declarations` for it. What
    /// the cache knows wrongly is found out and corrected.
    ///
    /// # Errors
    ///
    /// [`KernelError::NotFound`] where no kernel runs; else why the kernel that
    /// runs cannot be read: see [`new`](Self::new).
    pub fn attach(
        memory: Arc<GuestMemory>,
        declarations: &Declarations,
        cache: &ProfileCache,
        instance: Option<InstanceId>,
    ) -> Result<(Self, AttachReport), KernelError> {
        let mut attach = Attach {
            memory,
            declarations,
            cache,
            started: Instant::now(),
            refused: Vec::new(),
            claims: 0,
        };
        if let Some(page) = instance.and_then(|instance| cache.hint(instance)) {
            match attach.claim(page) {
                Ok(attached) => return Ok(attached),
                Err(error) => debug!("the kernel has moved from {page}: {error}"),
            }
            attach.refused.clear();
        }
        let (kernel, report) = attach.search()?;
        if let Some(instance) = instance {
            cache.keep_hint(instance, report.vmcoreinfo);
        }
        Ok((kernel, report))
    }
}

struct Attach<'a> {
    memory: Arc<GuestMemory>,
    declarations: &'a Declarations,
    cache: &'a ProfileCache,
    started: Instant,
    /// Kernels that were looked at in full and are not it, and why.
    refused: Vec<(VmcoreInfo, KernelError)>,
    /// Pages that looked like VMCOREINFO.
    claims: usize,
}

impl Attach<'_> {
    /// Tries every page that looks like VMCOREINFO until one stands up.
    fn search(&mut self) -> Result<(Kernel, AttachReport), KernelError> {
        let memory = self.memory.clone();
        let found = vmcoreinfo::scan(&memory, |page| {
            self.claims += 1;
            match self.claim(page) {
                Ok(attached) => ControlFlow::Break(Some(attached)),
                Err(_) if self.refused.len() >= KERNELS_MAX => ControlFlow::Break(None),
                Err(error) => {
                    debug!("VMCOREINFO at {page}: {error}");
                    ControlFlow::Continue(())
                }
            }
        });
        if let Some(attached) = found.flatten() {
            return Ok(attached);
        }
        // What is wrong with a kernel that runs tells more than what is wrong
        // with a claim.
        let refused = self.refused.drain(..).map(|(_, error)| error);
        let telling =
            refused.into_iter().find(|error| !matches!(error, KernelError::Vmcoreinfo(_)));
        Err(telling.unwrap_or(KernelError::NotFound { claims: self.claims }))
    }

    /// Attaches to the kernel whose VMCOREINFO is said to be at `page`.
    fn claim(&mut self, page: GuestPhys) -> Result<(Kernel, AttachReport), KernelError> {
        let info = VmcoreInfo::read(&self.memory, page)?;
        if self.refused.iter().any(|(known, _)| *known == info) {
            return Err(KernelError::Vmcoreinfo("the same was looked at before"));
        }
        let located = info.locate(&self.memory)?;
        match self.attach_to(&info, located, page) {
            Ok(attached) => Ok(attached),
            Err(error) => {
                let shown = KernelError::Vmcoreinfo("the kernel it tells of cannot be read");
                debug!("kernel {} at {page}: {error}", info.release);
                self.refused.push((info, error));
                Err(shown)
            }
        }
    }

    fn attach_to(
        &self,
        info: &VmcoreInfo,
        located: Located,
        vmcoreinfo: GuestPhys,
    ) -> Result<(Kernel, AttachReport), KernelError> {
        let space = AddressSpace::new(self.memory.clone(), located.page_table, located.levels);
        let started = Instant::now();
        let stored = self.stored_profile(info)?;
        let from_cache = stored.is_some();
        let profile = match stored {
            Some(profile) => profile,
            None => self.build_profile(info)?,
        };
        let profile_time = started.elapsed();
        fit::check(&space, located, &profile)?;
        let profile = Arc::new(profile);
        let kernel = Kernel::new(self.memory.clone(), located, profile, self.declarations)?;
        let total = self.started.elapsed();
        let find = total.saturating_sub(profile_time);
        let durations = AttachDurations { find, profile: profile_time, total };
        Ok((kernel, AttachReport { from_cache, vmcoreinfo, durations }))
    }

    /// The profile that the cache holds for exactly this kernel.
    fn stored_profile(&self, info: &VmcoreInfo) -> Result<Option<Profile>, KernelError> {
        let Some(build_id) = &info.build_id else { return Ok(None) };
        let Some(stored) = self.cache.profile(build_id, self.declarations) else {
            return Ok(None);
        };
        let same = stored.profile.release == info.release && stored.profile.build_id == *build_id;
        if same && stored.evidence.fits(&self.memory, info)? {
            return Ok(Some(stored.profile));
        }
        debug!("the stored profile of {build_id} is of another kernel");
        Ok(None)
    }

    fn build_profile(&self, info: &VmcoreInfo) -> Result<Profile, KernelError> {
        let image = ImageCopy::read(&self.memory, info)?;
        let kallsyms = match &info.kallsyms {
            Some(tables) => Kallsyms::open(&image, tables)?,
            None => Kallsyms::search(&image)?,
        };
        let types = kallsyms.range_of("__start_BTF", "__stop_BTF")?;
        let types = types.ok_or(KernelError::Btf("it was built without CONFIG_DEBUG_INFO_BTF"))?;
        let blob = image.range(types.start, types.end);
        let blob = blob.filter(|blob| blob.len() as u64 <= BTF_MAX);
        let btf = Btf::parse(blob.ok_or(KernelError::Btf("its bounds make no sense"))?)?;
        let profile = resolve(info, &kallsyms, &btf, self.declarations)?;
        let mut parts = kallsyms.parts();
        parts.push(types);
        if let Some(evidence) = Evidence::of(&image, info.kaslr_offset, &parts) {
            let stored = StoredProfile { evidence, profile };
            self.cache.keep_profile(&stored, self.declarations);
            return Ok(stored.profile);
        }
        Ok(profile)
    }
}
