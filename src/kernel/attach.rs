//! From guest memory to a kernel that can be read by name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::memory::GuestMemory;

use super::choose::ProfileFrom;
use super::error::KernelError;
use super::image::{Kernel, Located};
use super::options::AttachOptions;
use super::profile::Profile;
use super::search::{FoundBy, Search};

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
