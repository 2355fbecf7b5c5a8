//! A profile that lies somewhere: on the disk, in this program, in the cache.

use std::fmt;
use std::path::PathBuf;

use super::profile::Profile;

/// Where a stored profile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In this program, under this name.
    BuiltIn(&'static str),
    /// In the cache, where a guest's memory told of it.
    Cache(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::BuiltIn(name) => write!(f, "built in ({name})"),
            Self::Cache(path) => write!(f, "cache ({})", path.display()),
        }
    }
}

/// A profile, and where it is.
#[derive(Clone, Debug)]
pub struct KnownProfile {
    /// What it says.
    pub profile: Profile,
    /// Where it is.
    pub place: Place,
}
