//! What a set of images on the host asks of the guest that is to take it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Options;
use super::cgroups::{self, ExpectedCgroup, ManageCgroups};
use super::error::RestoreError;
use crate::criu::{self, CheckOptions, GhostImage, ImageDirectory, ImageStore, Need};
use crate::pack::{Compression, Unpacked};

/// What all images may have together, in bytes: no memory is larger
/// (`MAX_PHYSMEM_BITS`, `arch/x86/include/asm/sparsemem.h`). What is made of their
/// sizes stays far within 64 bits.
const MOST_BYTES: u64 = 1 << 52;

/// What a ustar header has room for without an extension.
const MAX_NAME: usize = 100;

/// A set of images in a directory.
#[derive(Debug)]
pub(super) struct ImageSet {
    /// Where they are.
    pub dir: PathBuf,
    /// Everything that `criu restore` reads, by name.
    pub images: Vec<ImageFile>,
    /// PID of the tree's root.
    pub root: u32,
    /// PIDs of the tree, the root's first.
    pub pids: Vec<u32>,
    /// PIDs and TIDs that must be free.
    pub tids: BTreeSet<u32>,
    /// Whether the tree belongs to a session or process group of a process
    /// outside, so that CRIU has to be told (`--shell-job`).
    pub foreign_session: bool,
    /// Whether it works on a terminal of that process, and needs another one.
    pub wants_terminal: bool,
    /// Processes that have the controlling terminal of a leader among the others,
    /// which CRIU gives to the leader alone.
    pub in_terminal_sessions: Vec<i32>,
    /// Whether there are locks on files, which CRIU restores when it is told to
    /// (`--file-locks`).
    pub file_locks: bool,
    /// Files that must be there.
    pub files: Vec<ExpectedFile>,
    /// Names of Unix sockets that must be free, as `/proc/net/unix` shows them.
    pub names: BTreeSet<Vec<u8>>,
    /// Addresses of sockets of netlink that must be free, behind their protocols:
    /// CRIU takes another one in silence.
    pub ports: BTreeSet<(u32, u32)>,
    /// Pseudoterminals that must be free: `/dev/pts/N`.
    pub ptys: BTreeSet<u32>,
    /// Cgroups that the processes are in, and those above them.
    pub cgroups: Vec<ExpectedCgroup>,
    /// XSAVE components that the registers use, by bit.
    pub xfeatures: u64,
    /// AppArmor profiles that confine threads.
    pub profiles: BTreeSet<String>,
    /// What the CPU of the source can do that programs look for, as
    /// `/proc/cpuinfo` calls it.
    pub instructions: BTreeSet<&'static str>,
    /// Whether the images tell which CPU that was.
    pub knows_cpu: bool,
    /// What older versions of CRIU would lose.
    pub needs: Vec<Need>,
}

/// One image.
#[derive(Debug)]
pub(super) struct ImageFile {
    /// What the guest is to find it by.
    pub name: String,
    /// In bytes, as the guest is to find it.
    pub size: u64,
    /// How it lies here, if not as it is.
    pub compression: Option<Compression>,
}

/// A file that the process has open or mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExpectedFile {
    /// Absolute, in any encoding.
    pub path: Vec<u8>,
    /// Its size in bytes, where CRIU will compare it.
    pub size: Option<u64>,
    /// `st_mode`, where CRIU will compare it.
    pub mode: Option<u32>,
    /// Whether nothing may be there instead: CRIU makes a directory of the name,
    /// and deletes it again.
    pub is_free: bool,
}

impl ImageSet {
    /// Reads the set in `dir` and checks it.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Images`] with all that is wrong: `criu restore` does not
    /// refuse every broken set, some make it hang or restore a dead process.
    pub fn read(dir: &Path) -> Result<Self, RestoreError> {
        let images = list(dir)?;
        // Whether that is so is only known afterwards, and is no fault.
        let options = CheckOptions { shell_job: true };
        let set = criu::check(&ImageDirectory::new(dir), options)
            .map_err(|e| RestoreError::Images { path: dir.to_owned(), reason: e.to_string() })?;
        let files = expected_files(&set);
        Ok(Self { images, files, ..Self::of_tree(dir, &set) })
    }

    fn of_tree(dir: &Path, set: &criu::ImageSet) -> Self {
        let entries = || set.processes.iter().map(|process| &process.pstree);
        let pids: Vec<u32> = entries().map(|entry| entry.pid).collect();
        let foreign_session = set.session_of_shell().is_some();
        // CRIU makes leaders for groups whose own has ended.
        let leaders = entries().map(|entry| entry.pgid).filter(|_| !foreign_session);
        // A zombie has no threads, whatever its entry says.
        let threads = set.processes.iter().filter(|process| !process.is_zombie());
        let threads = threads.flat_map(|process| process.pstree.threads.iter().copied());
        let cores = set.processes.iter().flat_map(|process| process.cores.values());
        let cpu = || set.cpuinfo.iter().flat_map(|entry| &entry.x86_entry);
        // A zombie has no registers.
        let xsave =
            cores.clone().filter_map(|core| core.thread_info.as_ref()?.fpregs.xsave.as_ref());
        let credentials = cores.filter_map(|core| core.thread_core.as_ref()?.creds.as_ref());
        let outside: BTreeSet<u32> = set.terminals_without_master().map(|info| info.id).collect();
        let terminals = set.terminals.iter().filter(|info| !outside.contains(&info.id));
        Self {
            root: pids.first().copied().unwrap_or(0),
            tids: pids.iter().copied().chain(threads).chain(leaders).collect(),
            foreign_session,
            xfeatures: xsave.fold(0, |all, xsave| all | xsave.xstate_bv),
            profiles: credentials.filter_map(|creds| creds.lsm_profile.clone()).collect(),
            needs: set.needs(),
            file_locks: !set.locks.is_empty(),
            in_terminal_sessions: entries()
                .filter(|entry| entry.has_terminal == Some(true))
                .map(|entry| entry.pid.cast_signed())
                .collect(),
            wants_terminal: !outside.is_empty(),
            ptys: terminals.filter_map(|info| Some(info.pty?.index)).collect(),
            names: names(set),
            ports: ports(set),
            cgroups: cgroups::expected(set),
            instructions: cpu().flat_map(criu::instructions).collect(),
            knows_cpu: cpu().any(|cpu| cpu.vendor_id != 0),
            pids,
            ..Self::empty(dir)
        }
    }

    /// A set that asks for nothing.
    pub fn empty(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            images: Vec::new(),
            root: 0,
            pids: Vec::new(),
            tids: BTreeSet::new(),
            foreign_session: false,
            wants_terminal: false,
            in_terminal_sessions: Vec::new(),
            file_locks: false,
            names: BTreeSet::new(),
            ports: BTreeSet::new(),
            ptys: BTreeSet::new(),
            files: Vec::new(),
            cgroups: Vec::new(),
            xfeatures: 0,
            profiles: BTreeSet::new(),
            instructions: BTreeSet::new(),
            knows_cpu: false,
            needs: Vec::new(),
        }
    }

    /// The same without what the user does not want to be looked at.
    pub fn with(mut self, options: Options<'_>) -> Self {
        if options.cgroups == ManageCgroups::Ignore {
            self.cgroups.clear();
        }
        if !options.cpu.instructions {
            self.instructions.clear();
        }
        self
    }

    /// Where an image lies that is not compressed.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Begins to read an image as the guest is to find it.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened.
    pub fn open(&self, image: &ImageFile) -> io::Result<Box<dyn Read>> {
        let path = self.path(&image.name);
        Ok(match image.compression {
            None => Box::new(File::open(path)?),
            Some(way) => Box::new(Unpacked::open(&way.path_of(&path), way)?),
        })
    }

    /// All images together, in bytes.
    pub fn bytes(&self) -> u64 {
        sum(&self.images)
    }

    /// The memory contents among them, in bytes.
    pub fn page_bytes(&self) -> u64 {
        let pages = self.images.iter().filter(|image| image.name.starts_with("pages-"));
        sum(pages)
    }
}

fn fit(images: &[ImageFile]) -> bool {
    sum(images) <= MOST_BYTES
}

fn sum<'a>(images: impl IntoIterator<Item = &'a ImageFile>) -> u64 {
    images.into_iter().fold(0, |sum, image| sum.saturating_add(image.size))
}

/// Addresses of sockets of netlink that are bound.
fn ports(set: &criu::ImageSet) -> BTreeSet<(u32, u32)> {
    let sockets = set.files.values().filter_map(|file| file.nlsk.as_ref());
    let bound = sockets.filter(|netlink| netlink.portid != 0);
    bound.map(|netlink| (netlink.protocol, netlink.portid)).collect()
}

/// Names that sockets are bound to again. CRIU deletes a socket that is there by a
/// path (`unlink_sk()`, `criu/sk-unix.c`), which nobody finds any more then.
fn names(set: &criu::ImageSet) -> BTreeSet<Vec<u8>> {
    let sockets = set.files.values().filter_map(|file| file.usk.as_ref());
    let shown = |name: &[u8]| {
        let (is_abstract, name) = (name[0] == 0, name.strip_suffix(b"\0").unwrap_or(name));
        // `unix_seq_show()` (`net/unix/af_unix.c`)
        let letter = |byte: &u8| if is_abstract && *byte == 0 { b'@' } else { *byte };
        name.iter().map(letter).collect()
    };
    // Of a relative one it is not told where it begins.
    let is_whole = |name: &&Vec<u8>| matches!(name.first(), Some(0 | b'/'));
    sockets.map(|unix| &unix.name).filter(is_whole).map(|name| shown(name)).collect()
}

/// Each file once; of several opens, the one that tells most.
fn expected_files(set: &criu::ImageSet) -> Vec<ExpectedFile> {
    let made: BTreeMap<u32, u32> =
        set.remaps.iter().map(|remap| (remap.orig_id, remap.remap_id)).collect();
    let is_directory = |ghost: &u32| set.ghosts.get(ghost).is_some_and(GhostImage::is_directory);
    let regular = set.files.values().filter_map(|file| Some((file.id, file.reg.as_ref()?)));
    let inside = regular.filter(|(_, file)| file.ext != Some(true) && file.name.starts_with(b"/"));
    let there = inside.filter(|(_, file)| !is_of_process(&file.name) && !is_link(file.mode));
    // A terminal gets its mode, and a pseudoterminal is there once its master is.
    let terminals: BTreeSet<u32> =
        set.files.values().filter_map(|file| file.tty.as_ref()?.regf_id).collect();
    let there =
        there.filter(|(id, file)| !(terminals.contains(id) && is_pseudoterminal(&file.name)));
    let mut files = Vec::new();
    for (id, file) in there {
        let path = file.name.clone();
        let any = ExpectedFile { path, size: None, mode: None, is_free: false };
        match made.get(&id) {
            // CRIU makes it beside its old place, and deletes it again.
            Some(ghost) => {
                files.push(ExpectedFile { path: parent(&file.name), ..any.clone() });
                files.extend(is_directory(ghost).then_some(ExpectedFile { is_free: true, ..any }));
            }
            None if terminals.contains(&id) => files.push(any),
            None => files.push(ExpectedFile { size: file.size, mode: file.mode, ..any }),
        }
    }
    // What is watched.
    let instances = set.files.values().filter_map(|file| file.ify.as_ref());
    let watched = instances.flat_map(|instance| &instance.wd);
    let watched = watched.filter_map(|watch| watch.f_handle.path.clone());
    let groups = set.files.values().filter_map(|file| file.ffy.as_ref());
    let marked = groups.flat_map(|group| &group.mark).filter_map(|mark| match &mark.me {
        Some(mount) => mount.path.clone().map(String::into_bytes),
        None => mark.ie.as_ref()?.f_handle.path.clone(),
    });
    let paths = watched.chain(marked);
    files.extend(paths.filter(|path| !is_of_process(path)).map(|path| ExpectedFile {
        path,
        size: None,
        mode: None,
        is_free: false,
    }));
    files.sort_by(|a, b| (&a.path, b.size, b.mode).cmp(&(&b.path, a.size, a.mode)));
    files.dedup_by(|a, b| a.path == b.path);
    files
}

/// A file of `/proc` that is there once the process is.
fn is_of_process(path: &[u8]) -> bool {
    path.strip_prefix(b"/proc/").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

/// `/dev/pts/N`.
fn is_pseudoterminal(path: &[u8]) -> bool {
    path.strip_prefix(b"/dev/pts/").is_some_and(|name| name.iter().all(u8::is_ascii_digit))
}

/// A symbolic link that is open itself (`O_PATH`): the guest is asked of what
/// it leads to, which may be missing.
fn is_link(mode: Option<u32>) -> bool {
    const S_IFMT: u32 = 0o170_000;
    const S_IFLNK: u32 = 0o120_000;
    mode.is_some_and(|mode| mode & S_IFMT == S_IFLNK)
}

/// The directory of a file.
fn parent(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path[..end.max(1)].to_vec()
}

/// The images in a directory. Logs and statistics stay behind.
fn list(dir: &Path) -> Result<Vec<ImageFile>, RestoreError> {
    let broken = |reason: String| RestoreError::Images { path: dir.to_owned(), reason };
    if dir.join("parent").exists() {
        return Err(broken(
            "these images need those of their parent, which is not supported".into(),
        ));
    }
    let mut images = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| broken(e.to_string()))? {
        let entry = entry.map_err(|e| broken(e.to_string()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (name, compression) = match Compression::of_name(&name) {
            Some((plain, way)) if criu::is_pages_file(plain) => (plain.to_owned(), Some(way)),
            _ => (name, None),
        };
        if !name.ends_with(".img") || name.len() > MAX_NAME {
            continue;
        }
        let size = ImageDirectory::new(dir).size(&name);
        if let Some(size) = size.map_err(|e| broken(format!("{name}: {e}")))? {
            images.push(ImageFile { name, size, compression });
        }
    }
    // What lies here twice is not compressed for those who read it.
    images.sort_by(|a, b| {
        (&a.name, a.compression.is_some()).cmp(&(&b.name, b.compression.is_some()))
    });
    images.dedup_by(|a, b| a.name == b.name);
    if !fit(&images) {
        return Err(broken("they are larger together than the memory of any guest".into()));
    }
    Ok(images)
}

#[cfg(test)]
mod tests;
