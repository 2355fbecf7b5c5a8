//! By which profile a kernel is read: the one that was given, else what the
//! kernel's memory tells (and told before), else one that was stored for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tracing::{debug, warn};

use crate::memory::{GuestMemory, GuestVirt};

use super::btf::{BTF_MAX, Btf};
use super::cache::StoredProfile;
use super::error::KernelError;
use super::evidence::{Depth, Evidence};
use super::image::Located;
use super::image_copy::ImageCopy;
use super::kallsyms::Kallsyms;
use super::known::{KnownProfile, Place};
use super::options::AttachOptions;
use super::profile::{Origin, Profile};
use super::resolve::{as_linked, structs, symbol_names};
use super::sighting::Sighting;

/// What `vmlinux.lds.h` calls the ends of the kernel's types.
const BTF_BOUNDS: [&str; 2] = ["__start_BTF", "__stop_BTF"];

/// Where the profile that is used comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileFrom {
    /// It was built from what lies in the guest's memory.
    Guest,
    /// The same, by an earlier attach.
    Cache,
    /// It was made beforehand and is here.
    Stored(Place),
}

impl fmt::Display for ProfileFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => f.write_str("built now"),
            Self::Cache => f.write_str("cached"),
            Self::Stored(place) => write!(f, "{place}"),
        }
    }
}

/// The profile that was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) profile: Profile,
    pub(super) from: ProfileFrom,
    /// Where the kernel lies, counted from where the profile has it linked.
    pub(super) located: Located,
    /// The digest of the evidence that the kernel was found to hold.
    pub(super) evidence: Option<String>,
}

/// The choice for one kernel.
pub(super) struct Chooser<'a> {
    memory: &'a Arc<GuestMemory>,
    options: &'a AttachOptions<'a>,
    sighting: &'a Sighting,
    known: Known,
}

/// What may be known of a kernel beside its sighting.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its image.
    pub(super) copy: Option<ImageCopy>,
    /// The digest of the evidence that it was found to hold before.
    pub(super) evidence: Option<String>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(
        memory: &'a Arc<GuestMemory>,
        options: &'a AttachOptions<'a>,
        sighting: &'a Sighting,
        known: Known,
    ) -> Self {
        Self { memory, options, sighting, known }
    }

    pub(super) fn choose(mut self) -> Result<Chosen, KernelError> {
        let located = self.sighting.located;
        if let Some(given) = &self.options.knowledge.given {
            return self.stored(&given.known, given.force);
        }
        if let Some(StoredProfile { profile, evidence }) = self.cached() {
            let evidence = Some(evidence.digest().to_owned());
            return Ok(Chosen { profile, from: ProfileFrom::Cache, located, evidence });
        }
        match self.build() {
            Ok((profile, evidence)) => {
                Ok(Chosen { profile, from: ProfileFrom::Guest, located, evidence })
            }
            Err(why) => self.in_library(why),
        }
    }

    /// The profile that the cache holds for exactly this kernel.
    fn cached(&self) -> Option<StoredProfile> {
        let (cache, sighting) = (&self.options.knowledge.cache, self.sighting);
        let build_id = sighting.build_id.as_ref()?;
        let stored = cache.profile(build_id, self.options.declarations)?;
        let before = self.known.evidence.as_deref() == Some(stored.evidence.digest());
        let depth = if before { Depth::Samples } else { Depth::Whole };
        let profile = &stored.profile;
        let same = profile.release == sighting.release && profile.build_id == *build_id;
        if same && stored.evidence.fits(self.memory, sighting.located, depth) {
            return Some(stored);
        }
        debug!("the stored profile of {build_id} is of another kernel");
        None
    }

    /// Builds the profile from what the kernel's memory tells.
    fn build(&mut self) -> Result<(Profile, Option<String>), KernelError> {
        let (sighting, declarations) = (self.sighting, self.options.declarations);
        let kaslr_offset = sighting.located.kaslr_offset;
        let image = self.image()?;
        let kallsyms = kallsyms(sighting, image)?;
        let mut symbols = kallsyms.find(symbol_names(declarations).chain(BTF_BOUNDS))?;
        let [start, end] = BTF_BOUNDS.map(|name| symbols.remove(name).map(GuestVirt::new));
        let types = start.zip(end).map(|(start, end)| start..end);
        let types = types.ok_or(KernelError::Btf("it was built without CONFIG_DEBUG_INFO_BTF"))?;
        let blob = image.range(types.start, types.end);
        let blob = blob.filter(|blob| blob.len() as u64 <= BTF_MAX);
        let btf = Btf::parse(blob.ok_or(KernelError::Btf("its bounds make no sense"))?)?;
        let profile = Profile {
            release: sighting.release.clone(),
            build_id: sighting.build_id.clone().unwrap_or_default(),
            origin: Origin {
                types: "BTF in guest memory".to_owned(),
                symbols: "kallsyms in guest memory".to_owned(),
            },
            symbols: as_linked(&symbols, kaslr_offset),
            structs: structs(&btf, declarations),
        };
        let mut parts = kallsyms.parts().to_vec();
        parts.push(types);
        if let Some(evidence) = Evidence::of(image, kaslr_offset, &parts) {
            let stored = StoredProfile { evidence, profile };
            self.options.knowledge.cache.keep_profile(&stored, declarations);
            return Ok((stored.profile, Some(stored.evidence.digest().to_owned())));
        }
        Ok((profile, None))
    }

    /// The stored profile of this build, as the kernel's memory does not do.
    fn in_library(&mut self, why: KernelError) -> Result<Chosen, KernelError> {
        if let KernelError::Memory(_) = why {
            return Err(why);
        }
        let build_id = self.sighting.build_id.clone().unwrap_or_default();
        let known = match build_id.as_str() {
            "" => None,
            build_id => self.options.knowledge.library.by_build_id(build_id),
        };
        match known {
            Some(known) => self.stored(&known, false),
            None => {
                let (release, why) = (self.sighting.release.clone(), Box::new(why));
                Err(KernelError::NoTypes { release, build_id, why })
            }
        }
    }

    /// Takes the layouts of a stored profile. The build ID is what the guest
    /// says it is; where it has symbols, they show whether that is so, and they
    /// are used with layouts of another build.
    fn stored(&mut self, known: &KnownProfile, force: bool) -> Result<Chosen, KernelError> {
        let sighting = self.sighting;
        let build_id = sighting.build_id.clone().unwrap_or_default();
        let mut profile = known.profile.clone();
        let same = !build_id.is_empty()
            && profile.build_id == build_id
            && profile.release == sighting.release;
        if !same && !force {
            return Err(KernelError::OtherBuild {
                of: (profile.release, profile.build_id),
                runs: (sighting.release.clone(), build_id),
            });
        }
        let mut located = sighting.located;
        if let (true, Some(stext)) = (same, profile.symbols.get("_stext")) {
            // Where it was linked may not be told by its memory.
            located.kaslr_offset = sighting.image.start.get().wrapping_sub(*stext);
        }
        let symbols = match self.symbols() {
            Ok(symbols) => as_linked(&symbols, located.kaslr_offset),
            Err(_) if same => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        if same {
            let elsewhere = symbols.iter().find(|(name, addr)| {
                profile.symbols.get(*name).is_some_and(|stored| stored != *addr)
            });
            if let Some((symbol, _)) = elsewhere {
                return Err(KernelError::OtherSymbols { symbol: symbol.clone() });
            }
        } else {
            warn!(
                "kernel {} (build ID {build_id}) is read by the layouts of {} (build ID {}): \
                 where they differ, wrong memory is read and written",
                sighting.release, profile.release, profile.build_id
            );
            profile.origin.types = format!(
                "{} (forced: of kernel {}, build ID {})",
                profile.origin.types, profile.release, profile.build_id
            );
            profile.origin.symbols = "kallsyms in guest memory".to_owned();
            profile.release = sighting.release.clone();
            profile.build_id = build_id;
            profile.symbols = symbols;
        }
        let from = ProfileFrom::Stored(known.place.clone());
        Ok(Chosen { profile, from, located, evidence: None })
    }

    /// The addresses of all symbols that are read, as the guest tells them.
    fn symbols(&mut self) -> Result<BTreeMap<String, u64>, KernelError> {
        let (sighting, declarations) = (self.sighting, self.options.declarations);
        kallsyms(sighting, self.image()?)?.find(symbol_names(declarations))
    }

    fn image(&mut self) -> Result<&ImageCopy, KernelError> {
        let copy = match self.known.copy.take() {
            Some(copy) => copy,
            None => {
                let Sighting { image, located, .. } = self.sighting;
                ImageCopy::read(self.memory, located.image_phys(image.start), image.clone())?
            }
        };
        Ok(self.known.copy.insert(copy))
    }
}

fn kallsyms<'i>(sighting: &Sighting, image: &'i ImageCopy) -> Result<Kallsyms<'i>, KernelError> {
    match &sighting.kallsyms {
        Some(tables) => Kallsyms::open(image, tables),
        None => Kallsyms::search(image),
    }
}
