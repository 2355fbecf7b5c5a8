//! What a set of images on the host asks of the guest that is to take it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::error::RestoreError;
use crate::criu::{self, CheckOptions, GhostImage, ImageDirectory, Need};

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
    /// Whether there are locks on files, which CRIU restores when it is told to
    /// (`--file-locks`).
    pub file_locks: bool,
    /// Files that must be there.
    pub files: Vec<ExpectedFile>,
    /// XSAVE components that the registers use, by bit.
    pub xfeatures: u64,
    /// What older versions of CRIU would lose.
    pub needs: Vec<Need>,
}

/// One image.
#[derive(Debug)]
pub(super) struct ImageFile {
    pub name: String,
    /// In bytes.
    pub size: u64,
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
        let foreign_session = entries().next().is_some_and(|root| root.sid != root.pid);
        // CRIU makes leaders for groups whose own has ended.
        let leaders = entries().map(|entry| entry.pgid).filter(|_| !foreign_session);
        // A zombie has no threads, whatever its entry says.
        let threads = set.processes.iter().filter(|process| !process.is_zombie());
        let threads = threads.flat_map(|process| process.pstree.threads.iter().copied());
        let cores = set.processes.iter().flat_map(|process| process.cores.values());
        // A zombie has no registers.
        let xsave = cores.filter_map(|core| core.thread_info.as_ref()?.fpregs.xsave.as_ref());
        Self {
            root: pids.first().copied().unwrap_or(0),
            tids: pids.iter().copied().chain(threads).chain(leaders).collect(),
            foreign_session,
            xfeatures: xsave.fold(0, |all, xsave| all | xsave.xstate_bv),
            needs: set.needs(),
            file_locks: !set.locks.is_empty(),
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
            file_locks: false,
            files: Vec::new(),
            xfeatures: 0,
            needs: Vec::new(),
        }
    }

    /// The path of an image.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// All images together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.images.iter().map(|image| image.size).sum()
    }

    /// The memory contents among them, in bytes.
    pub fn page_bytes(&self) -> u64 {
        let pages = self.images.iter().filter(|image| image.name.starts_with("pages-"));
        pages.map(|image| image.size).sum()
    }
}

/// Each file once; of several opens, the one that tells most.
fn expected_files(set: &criu::ImageSet) -> Vec<ExpectedFile> {
    let made: BTreeMap<u32, u32> =
        set.remaps.iter().map(|remap| (remap.orig_id, remap.remap_id)).collect();
    let is_directory = |ghost: &u32| set.ghosts.get(ghost).is_some_and(GhostImage::is_directory);
    let regular = set.files.values().filter_map(|file| Some((file.id, file.reg.as_ref()?)));
    let inside = regular.filter(|(_, file)| file.ext != Some(true) && file.name.starts_with(b"/"));
    let there = inside.filter(|(_, file)| !is_of_process(&file.name) && !is_link(file.mode));
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
            None => files.push(ExpectedFile { size: file.size, mode: file.mode, ..any }),
        }
    }
    files.sort_by(|a, b| (&a.path, b.size, b.mode).cmp(&(&b.path, a.size, a.mode)));
    files.dedup_by(|a, b| a.path == b.path);
    files
}

/// A file of `/proc` that is there once the process is.
fn is_of_process(path: &[u8]) -> bool {
    path.strip_prefix(b"/proc/").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
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
        let metadata = fs::metadata(entry.path()).map_err(|e| broken(format!("{name}: {e}")))?;
        if name.ends_with(".img") && name.len() <= MAX_NAME && metadata.is_file() {
            images.push(ImageFile { name, size: metadata.len() });
        }
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::{ProcessImages, proto};

    fn regular(id: u32, name: &str, size: Option<u64>) -> (u32, proto::FileEntry) {
        let reg = proto::RegFileEntry { id, name: name.into(), size, ..Default::default() };
        (id, proto::FileEntry { id, reg: Some(reg), ..Default::default() })
    }

    /// A process 10 with a thread 11, in session `sid`.
    fn set(sid: u32) -> criu::ImageSet {
        let core = |xstate_bv| {
            let mut info = proto::ThreadInfoX86::default();
            info.fpregs.xsave = Some(proto::UserX86XsaveEntry { xstate_bv, ..Default::default() });
            proto::CoreEntry { thread_info: Some(info), ..Default::default() }
        };
        let pstree = proto::PstreeEntry { pid: 10, ppid: 0, pgid: 10, sid, threads: vec![10, 11] };
        let cores = [(10, core(0b011)), (11, core(0b100))].into();
        let processes = vec![ProcessImages { pstree, cores, ..ProcessImages::default() }];
        criu::ImageSet { processes, ..criu::ImageSet::default() }
    }

    #[test]
    fn what_a_tree_asks_for() {
        let tree = ImageSet::of_tree(Path::new("/d"), &set(10));
        assert_eq!((tree.root, &tree.pids[..], tree.foreign_session), (10, &[10][..], false));
        assert_eq!((tree.tids, tree.xfeatures), ([10, 11].into(), 0b111));
        assert!(ImageSet::of_tree(Path::new("/d"), &set(7)).foreign_session);
    }

    #[test]
    fn a_file_is_asked_for_once() {
        let files = [
            regular(1, "/a", None),
            regular(2, "/b", Some(5)),
            regular(3, "/a", Some(3)),
            regular(4, "x", None),
        ];
        let set = criu::ImageSet { files: files.into(), ..criu::ImageSet::default() };
        assert_eq!(expected_files(&set), [expected("/a", Some(3)), expected("/b", Some(5))]);
    }

    fn expected(path: &str, size: Option<u64>) -> ExpectedFile {
        ExpectedFile { path: path.into(), size, mode: None, is_free: false }
    }

    #[test]
    fn what_restore_makes_need_not_be_there() {
        let files = [regular(1, "/a/file", Some(5)), regular(2, "/b/dir", None)];
        let remap = |id| proto::RemapFilePathEntry {
            orig_id: id,
            remap_id: id,
            remap_type: Some(proto::RemapType::Ghost as i32),
        };
        let ghost = |mode| GhostImage {
            entry: proto::GhostFileEntry { mode, ..Default::default() },
            ..Default::default()
        };
        let set = criu::ImageSet {
            files: files.into(),
            remaps: vec![remap(1), remap(2)],
            ghosts: [(1, ghost(0o100_644)), (2, ghost(0o40_755))].into(),
            ..criu::ImageSet::default()
        };
        let free = ExpectedFile { is_free: true, ..expected("/b/dir", None) };
        assert_eq!(expected_files(&set), [expected("/a", None), expected("/b", None), free]);
    }

    #[test]
    fn what_is_no_image_stays_behind() {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in [("pages-1.img", 4096), ("inventory.img", 10), ("dump.log", 9)] {
            fs::write(dir.path().join(name), vec![0; size]).unwrap();
        }
        let images = list(dir.path()).unwrap();
        let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["inventory.img", "pages-1.img"]);
        let set = ImageSet { images, ..ImageSet::empty(dir.path()) };
        assert_eq!((set.bytes(), set.page_bytes()), (4106, 4096));
    }

    #[test]
    fn sets_that_cannot_be_restored_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = ImageSet::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("inventory.img"), "{error}");
        std::os::unix::fs::symlink("..", dir.path().join("parent")).unwrap();
        let error = ImageSet::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("parent"), "{error}");
        assert!(ImageSet::read(Path::new("/nowhere")).is_err());
    }
}
