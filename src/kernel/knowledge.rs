//! What is known of kernels before a guest is looked at.

use super::cache::ProfileCache;
use super::known::KnownProfile;
use super::library::ProfileLibrary;

/// A profile that is to be used.
#[derive(Clone, Debug)]
pub struct GivenProfile {
    /// The profile.
    pub known: KnownProfile,
    /// Whether its layouts are to be used for a kernel of another build, too.
    pub force: bool,
}

/// What is known from other attaches and from whoever runs this program.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// What earlier attaches have learned.
    pub cache: ProfileCache,
    /// Profiles for kernels whose memory does not tell their types.
    pub library: ProfileLibrary,
    /// The profile that is to be used whatever the guest's memory tells.
    pub given: Option<GivenProfile>,
}

impl Knowledge {
    /// The user's cache and the system's library.
    pub fn user() -> Self {
        Self::with_cache(ProfileCache::user())
    }

    /// This cache and the system's library.
    pub fn with_cache(cache: ProfileCache) -> Self {
        Self { cache, library: ProfileLibrary::system(), given: None }
    }
}
