//! What was learned of kernels and guests, kept for the next attach.
//!
//! ```text
//! $OVMIGRATE_CACHE_DIR, or the user's cache folder + ovmigrate/
//!   profiles/BUILD-ID.DECLARATIONS.json   a kernel build's profile
//!   instances/PID-START.json              the kernel that runs in a VM
//! ```
//!
//! Everything here can be deleted at any time, and whatever is found here is
//! checked against the guest before it is used. A file that cannot be read or
//! written costs time and nothing else.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::declare::Declarations;
use super::evidence::Evidence;
use super::known::{KnownProfile, Place};
use super::profile::Profile;
use super::sighting::Sighting;

/// To be raised when profiles are resolved in another way than before.
const FORMAT: u32 = 4;
/// Bytes of a file that is read back at most.
const FILE_MAX: u64 = 64 << 20;
/// Names the folder in place of the user's cache folder.
const ENVIRONMENT: &str = "OVMIGRATE_CACHE_DIR";

/// One run of a QEMU process: process IDs are used again, with another start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId {
    /// Its process ID.
    pub pid: i32,
    /// When it started, in clock ticks after the host's boot
    /// (`proc_pid_stat(5)`, field 22).
    pub start_time: u64,
}

impl InstanceId {
    /// The process that has `pid` now.
    ///
    /// # Errors
    ///
    /// Where there is no such process.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may itself hold blanks and parentheses.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let start = after_name.split_ascii_whitespace().nth(19).and_then(|text| text.parse().ok());
        let start_time =
            start.ok_or_else(|| io::Error::other("no start time in /proc/PID/stat"))?;
        Ok(Self { pid, start_time })
    }

    fn file_name(self) -> String {
        format!("{}-{}.json", self.pid, self.start_time)
    }

    fn from_file_name(name: &str) -> Option<Self> {
        let (pid, start_time) = name.strip_suffix(".json")?.split_once('-')?;
        Some(Self { pid: pid.parse().ok()?, start_time: start_time.parse().ok()? })
    }
}

/// A profile as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredProfile {
    pub(super) evidence: Evidence,
    pub(super) profile: Profile,
}

/// The kernel that ran in a VM when it was last looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Remembered {
    pub(super) sighting: Sighting,
    /// The digest of the evidence that it was found to hold, as a whole.
    pub(super) evidence: Option<String>,
}

/// The folder with all that.
#[derive(Clone, Debug)]
pub struct ProfileCache {
    folder: Option<PathBuf>,
}

impl ProfileCache {
    /// The user's, or the one that `OVMIGRATE_CACHE_DIR` names. A user without
    /// a home folder has none.
    pub fn user() -> Self {
        let named = std::env::var_os(ENVIRONMENT).filter(|name| !name.is_empty());
        let folder = named.map(PathBuf::from).or_else(|| {
            let folders = directories::ProjectDirs::from("", "", "ovmigrate")?;
            Some(folders.cache_dir().to_owned())
        });
        Self { folder }
    }

    /// The one in `folder`, which is made when there is something to keep.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// None: everything is looked up anew.
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// All profiles that are kept, also those that another version has left.
    pub fn profiles(&self) -> impl Iterator<Item = KnownProfile> {
        let folder = self.folder.as_ref().map(|folder| folder.join("profiles"));
        let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
        let mut paths: Vec<_> =
            entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.into_iter().filter_map(|path| {
            let StoredProfile { profile, .. } = load(&path)?;
            Some(KnownProfile { profile, place: Place::Cache(path) })
        })
    }

    pub(super) fn profile(
        &self,
        build_id: &str,
        declarations: &Declarations,
    ) -> Option<StoredProfile> {
        load(&self.profile_path(build_id, declarations)?)
    }

    pub(super) fn keep_profile(&self, stored: &StoredProfile, declarations: &Declarations) {
        if let Some(path) = self.profile_path(&stored.profile.build_id, declarations) {
            keep(&path, stored);
        }
    }

    pub(super) fn remembered(&self, instance: InstanceId) -> Option<Remembered> {
        let path = self.folder.as_ref()?.join("instances").join(instance.file_name());
        load(&path)
    }

    pub(super) fn remember(&self, instance: InstanceId, remembered: &Remembered) {
        if let Some(folder) = &self.folder {
            let folder = folder.join("instances");
            forget_ended(&folder);
            keep(&folder.join(instance.file_name()), remembered);
        }
    }

    /// A build ID that is not plain hexadecimal digits names no file.
    fn profile_path(&self, build_id: &str, declarations: &Declarations) -> Option<PathBuf> {
        let plain = !build_id.is_empty() && build_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = plain.then(|| format!("{build_id}.{}.json", fingerprint(declarations)))?;
        Some(self.folder.as_ref()?.join("profiles").join(name))
    }
}

/// Tells one set of declarations from others, so that a version that reads more
/// resolves again.
fn fingerprint(declarations: &Declarations) -> String {
    let mut text = String::new();
    // Formatting into a string cannot fail.
    let _ = write!(text, "{FORMAT} {declarations:?}");
    let mut digest = blake3::hash(text.as_bytes()).to_hex().to_string();
    digest.truncate(16);
    digest
}

/// Removes what is known of VMs that have ended.
fn forget_ended(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let instance = name.to_str().and_then(InstanceId::from_file_name);
        let ended =
            instance.is_some_and(|known| InstanceId::of_process(known.pid).ok() != Some(known));
        if ended {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let read = || -> io::Result<T> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    match read() {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            debug!("{}: {error}", path.display());
            None
        }
    }
}

/// Writes a file whole or not at all. Only its owner may read and write here:
/// a profile decides where guests are written to.
fn keep(path: &Path, value: &impl Serialize) {
    let write = || -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.persist(path)?;
        Ok(())
    };
    if let Err(error) = write() {
        debug!("{}: {error}", path.display());
    }
}
