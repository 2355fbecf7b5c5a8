//! From guest memory to a kernel that can be read by name.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::memory::{CpuPaging, GuestMemory, GuestPhys};

use super::cache::InstanceId;
use super::declare::Declarations;
use super::error::KernelError;
use super::image::{Kernel, Located};
use super::knowledge::Knowledge;
use super::library::Place;
use super::profile::Profile;
use super::search::Search;

/// What an attach has to go by.
pub struct AttachOptions<'a> {
    /// What is to be read of the kernel.
    pub declarations: &'a Declarations,
    /// What is known of kernels and VMs from before.
    pub knowledge: &'a Knowledge,
    /// The VM, by which the cache knows it.
    pub instance: Option<InstanceId>,
    /// Tells the page tables that the VM's CPUs use; asked once at most, where
    /// the cache does not know where the kernel is.
    pub cpus: &'a dyn Fn() -> Vec<CpuPaging>,
}

impl Debug for AttachOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { knowledge, instance, .. } = self;
        f.debug_struct("AttachOptions")
            .field("knowledge", knowledge)
            .field("instance", instance)
            .finish_non_exhaustive()
    }
}

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

/// How an attach went.
#[derive(Clone, Debug)]
pub struct AttachReport {
    /// What the profile is.
    pub profile_from: ProfileFrom,
    /// What led to the kernel.
    pub found_by: FoundBy,
    /// What took how long.
    pub durations: AttachDurations,
}

/// What an attach spent its time on.
#[derive(Clone, Copy, Debug)]
pub struct AttachDurations {
    /// Finding the kernel and all else that is not counted below.
    pub find: Duration,
    /// Loading the profile and comparing it with the kernel, or building it.
    pub profile: Duration,
    /// From beginning to end.
    pub total: Duration,
}

/// The kernel that runs in a guest, and what is known of it. Whether that is
/// enough to read it by shows [`Kernel::new`].
#[derive(Debug)]
pub struct Found {
    /// Where it lies.
    pub located: Located,
    /// Its profile.
    pub profile: Arc<Profile>,
    /// How it was found.
    pub report: AttachReport,
}

/// Finds the kernel that runs in `memory`. What the cache knows wrongly is found
/// out and corrected.
///
/// # Errors
///
/// [`KernelError::NotFound`] where no kernel runs; else why the kernel that
/// runs cannot be understood.
pub fn find(memory: &Arc<GuestMemory>, options: &AttachOptions<'_>) -> Result<Found, KernelError> {
    let started = Instant::now();
    let seen = Search::new(memory, options).run()?;
    let total = started.elapsed();
    let find = total.saturating_sub(seen.profile_time);
    let durations = AttachDurations { find, profile: seen.profile_time, total };
    let report =
        AttachReport { profile_from: seen.profile_from, found_by: seen.found_by, durations };
    Ok(Found { located: seen.located, profile: Arc::new(seen.profile), report })
}

impl Kernel {
    /// [Finds](find) the kernel that runs in `memory` and resolves the
    /// declarations for it.
    ///
    /// # Errors
    ///
    /// Those of [`find`] and of [`new`](Self::new).
    pub fn attach(
        memory: Arc<GuestMemory>,
        options: &AttachOptions<'_>,
    ) -> Result<(Self, AttachReport), KernelError> {
        let Found { located, profile, report } = find(&memory, options)?;
        Ok((Self::new(memory, located, profile, options.declarations)?, report))
    }
}
