//! Profiles that were made beforehand, of kernels whose memory does not tell
//! their types.
//!
//! They are looked for in the folders that `OVMIGRATE_PROFILES` lists, in
//! `/etc/ovmigrate/kernel-profiles`, in `/usr/share/ovmigrate/kernel-profiles`
//! and among those that are built in. Whoever put them there vouches for them:
//! unlike what is in the cache, nothing of them was told by a guest.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::debug;

use super::cache::ProfileCache;
use super::known::{KnownProfile, Place};
use super::profile::Profile;

include!(concat!(env!("OUT_DIR"), "/kernel_profiles.rs"));

/// Lists folders, separated as in `PATH`.
const ENVIRONMENT: &str = "OVMIGRATE_PROFILES";
const SYSTEM: [&str; 2] =
    ["/etc/ovmigrate/kernel-profiles", "/usr/share/ovmigrate/kernel-profiles"];

/// Folders with profiles, and those that are built in.
#[derive(Clone, Debug)]
pub struct ProfileLibrary {
    folders: Vec<PathBuf>,
    built_in: bool,
}

impl ProfileLibrary {
    /// The user's, the system's and the built-in ones.
    pub fn system() -> Self {
        let named = std::env::var_os(ENVIRONMENT).unwrap_or_default();
        let named: Vec<_> =
            std::env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty()).collect();
        let folders = named.into_iter().chain(SYSTEM.map(PathBuf::from)).collect();
        Self { folders, built_in: true }
    }

    /// Those that are built in only.
    pub fn built_in() -> Self {
        Self { folders: Vec::new(), built_in: true }
    }

    /// Those in one folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folders: vec![folder.into()], built_in: false }
    }

    /// None.
    pub fn none() -> Self {
        Self { folders: Vec::new(), built_in: false }
    }

    /// All of them, in the order of the search. A file that is no profile is
    /// left out.
    pub fn all(&self) -> impl Iterator<Item = KnownProfile> {
        let files = self.folders.iter().flat_map(|folder| files_in(folder));
        let files = files.filter_map(|path| match read(&path) {
            Ok(profile) => Some(KnownProfile { profile, place: Place::File(path) }),
            Err(error) => {
                debug!("{}: {error}", path.display());
                None
            }
        });
        let built_in = BUILT_IN.iter().filter(|_| self.built_in);
        files.chain(built_in.filter_map(|(name, text)| {
            let profile = Profile::from_file(text.as_bytes()).ok()?;
            Some(KnownProfile { profile, place: Place::BuiltIn(name) })
        }))
    }

    /// The first of the kernel build `build_id`.
    pub fn by_build_id(&self, build_id: &str) -> Option<KnownProfile> {
        self.all().find(|known| known.profile.build_id == build_id)
    }

    /// The first that `name` means, here or in `cache`: a file, a release, or
    /// the first digits of a build ID, 6 at least.
    ///
    /// # Errors
    ///
    /// Where there is none, or the file cannot be read.
    pub fn named(&self, name: &str, cache: &ProfileCache) -> io::Result<KnownProfile> {
        let path = Path::new(name);
        if path.is_file() {
            let profile = read(path)?;
            return Ok(KnownProfile { profile, place: Place::File(path.to_owned()) });
        }
        let is_it = |known: &KnownProfile| {
            let Profile { release, build_id, .. } = &known.profile;
            release == name || name.len() >= 6 && build_id.starts_with(name)
        };
        let mut known = self.all().chain(cache.profiles());
        known.find(is_it).ok_or_else(|| {
            let why = "no file, and no stored profile has this release or build ID; \
                       `ovmigrate profile list` lists them";
            io::Error::new(io::ErrorKind::NotFound, why)
        })
    }
}

/// Reads a profile's file.
fn read(path: &Path) -> io::Result<Profile> {
    Profile::from_file(&fs::read(path)?)
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_profile = |path: &PathBuf| path.extension() == Some(OsStr::new("json"));
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_profile).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_file_release_and_build_id() {
        let scratch = tempfile::tempdir().unwrap();
        let (_, text) = BUILT_IN[0];
        let profile = Profile::from_file(text.as_bytes()).unwrap();
        let path = scratch.path().join("one.json");
        fs::write(&path, text).unwrap();
        fs::write(scratch.path().join("two.json"), "{}").unwrap();
        fs::write(scratch.path().join("README.md"), "").unwrap();
        let library = ProfileLibrary::at(scratch.path());
        assert_eq!(library.all().count(), 1);
        let by_build_id = library.by_build_id(&profile.build_id).unwrap();
        assert_eq!(by_build_id.place, Place::File(path.clone()));
        let none = ProfileCache::none();
        for name in
            [&profile.release, &profile.build_id, &profile.build_id[..8], path.to_str().unwrap()]
        {
            assert_eq!(library.named(name, &none).unwrap().profile, profile, "{name}");
        }
        for name in ["", "4", &profile.build_id[..5], "no-such-release"] {
            assert!(library.named(name, &none).is_err(), "{name}");
        }
    }
}
