//! What a set of images on the host asks of the guest that is to take it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use prost::Message;

use super::error::RestoreError;
use crate::criu::{ImageKind, ImageReader, proto};

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
    /// Files that must be there.
    pub files: Vec<ExpectedFile>,
    /// XSAVE components that the registers use, by bit.
    pub xfeatures: u64,
}

/// One image.
#[derive(Debug)]
pub(super) struct ImageFile {
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// A file that the process has open or mapped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExpectedFile {
    /// Absolute, in any encoding.
    pub path: Vec<u8>,
    /// Its size in bytes, where CRIU will compare it.
    pub size: Option<u64>,
    /// `st_mode`, where CRIU will compare it.
    pub mode: Option<u32>,
}

impl ImageSet {
    /// Reads the set in `dir` as far as needed.
    pub fn read(dir: &Path) -> Result<Self, RestoreError> {
        let mut set = Self { images: list(dir)?, ..Self::empty(dir) };
        // Written last: without it the set is not complete.
        set.first::<proto::InventoryEntry>(ImageKind::Inventory)?;
        set.read_tree()?;
        set.read_files()?;
        for tid in set.tids.clone() {
            set.read_registers(tid)?;
        }
        Ok(set)
    }

    /// A set that asks nothing.
    pub fn empty(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            images: Vec::new(),
            root: 0,
            pids: Vec::new(),
            tids: BTreeSet::new(),
            foreign_session: false,
            files: Vec::new(),
            xfeatures: 0,
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

    fn read_tree(&mut self) -> Result<(), RestoreError> {
        let entries: Vec<proto::PstreeEntry> = self.records(ImageKind::Pstree, 0)?;
        let Some(root) = entries.first() else {
            return Err(self.broken("pstree.img", "it lists no process"));
        };
        self.root = root.pid;
        self.pids = entries.iter().map(|entry| entry.pid).collect();
        for entry in &entries {
            self.tids.insert(entry.pid);
            self.tids.extend(&entry.threads);
        }
        let ours = |leader: u32| self.pids.contains(&leader);
        self.foreign_session = !entries.iter().all(|entry| ours(entry.sid) && ours(entry.pgid));
        Ok(())
    }

    fn read_files(&mut self) -> Result<(), RestoreError> {
        // A file that was deleted, or whose content is in the images, is named
        // there; CRIU makes it itself.
        if self.images.iter().any(|image| image.name == "remap-fpath.img") {
            return Ok(());
        }
        let entries: Vec<proto::FileEntry> = self.records(ImageKind::Files, 0)?;
        let regular = entries.into_iter().filter_map(|entry| entry.reg);
        let inside = regular.filter(|file| file.ext != Some(true) && file.name.starts_with(b"/"));
        self.files = inside
            .map(|file| ExpectedFile { path: file.name, size: file.size, mode: file.mode })
            .collect();
        self.files.sort_by(|a, b| (&a.path, b.size).cmp(&(&b.path, a.size)));
        self.files.dedup_by(|a, b| a.path == b.path);
        Ok(())
    }

    fn read_registers(&mut self, tid: u32) -> Result<(), RestoreError> {
        let cores: Vec<proto::CoreEntry> = self.records(ImageKind::Core, tid)?;
        let info = cores.into_iter().next().and_then(|core| core.thread_info);
        // A zombie has no registers.
        if let Some(xsave) = info.and_then(|info| info.fpregs.xsave) {
            self.xfeatures |= xsave.xstate_bv;
        }
        Ok(())
    }

    fn first<M: Message + Default>(&self, kind: ImageKind) -> Result<M, RestoreError> {
        let first = self.records(kind, 0)?.into_iter().next();
        first.ok_or_else(|| self.broken(&kind.file_name(0), "it is empty"))
    }

    fn records<M: Message + Default>(
        &self,
        kind: ImageKind,
        id: u32,
    ) -> Result<Vec<M>, RestoreError> {
        let name = kind.file_name(id);
        let file = File::open(self.path(&name)).map_err(|e| self.broken(&name, e))?;
        let reader = ImageReader::new(kind, BufReader::new(file));
        let records = reader.and_then(|reader| reader.records().collect());
        records.map_err(|e| self.broken(&name, e))
    }

    fn broken(&self, name: &str, reason: impl Display) -> RestoreError {
        RestoreError::Images { path: self.path(name), reason: reason.to_string() }
    }
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
    use crate::criu::ImageWriter;

    fn write(dir: &Path, kind: ImageKind, id: u32, records: &[impl Message]) {
        let mut image = ImageWriter::new(kind);
        records.iter().try_for_each(|record| image.record(record)).unwrap();
        fs::write(dir.join(kind.file_name(id)), image.finish()).unwrap();
    }

    fn regular(name: &str, size: Option<u64>) -> proto::FileEntry {
        let reg = proto::RegFileEntry { name: name.into(), size, ..Default::default() };
        proto::FileEntry { reg: Some(reg), ..Default::default() }
    }

    /// A process 10 with a thread 11, in a session of its own.
    fn small_set() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        write(path, ImageKind::Inventory, 0, &[proto::InventoryEntry::default()]);
        let process =
            proto::PstreeEntry { pid: 10, ppid: 0, pgid: 10, sid: 10, threads: vec![10, 11] };
        write(path, ImageKind::Pstree, 0, &[process]);
        for tid in [10, 11] {
            let mut info = proto::ThreadInfoX86::default();
            let xstate_bv = 1 << (tid - 8);
            info.fpregs.xsave = Some(proto::UserX86XsaveEntry { xstate_bv, ..Default::default() });
            let core = proto::CoreEntry { thread_info: Some(info), ..Default::default() };
            write(path, ImageKind::Core, tid, &[core]);
        }
        let files = [
            regular("/a", None),
            regular("/b", Some(5)),
            regular("/a", Some(3)),
            regular("pipe", None),
        ];
        write(path, ImageKind::Files, 0, &files);
        fs::write(path.join("pages-1.img"), [0; 4096]).unwrap();
        fs::write(path.join("dump.log"), "log").unwrap();
        dir
    }

    #[test]
    fn what_a_set_asks_for_is_read() {
        let dir = small_set();
        let set = ImageSet::read(dir.path()).unwrap();
        assert_eq!((set.root, &set.pids[..], set.foreign_session), (10, &[10][..], false));
        assert_eq!(set.tids, [10, 11].into());
        assert_eq!(set.xfeatures, 0b1100);
        let file = |path: &str, size| ExpectedFile { path: path.into(), size, mode: None };
        assert_eq!(set.files, [file("/a", Some(3)), file("/b", Some(5))]);
        assert_eq!(set.page_bytes(), 4096);
        assert!(set.images.iter().all(|image| image.name != "dump.log"));
    }

    #[test]
    fn a_session_of_another_process_is_noticed() {
        let dir = small_set();
        let process =
            proto::PstreeEntry { pid: 10, ppid: 0, pgid: 10, sid: 7, threads: vec![10, 11] };
        write(dir.path(), ImageKind::Pstree, 0, &[process]);
        assert!(ImageSet::read(dir.path()).unwrap().foreign_session);
    }

    #[test]
    fn an_incomplete_or_broken_set_names_the_image() {
        for name in ["inventory.img", "pstree.img", "core-11.img", "files.img"] {
            let dir = small_set();
            fs::remove_file(dir.path().join(name)).unwrap();
            let error = ImageSet::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            fs::write(dir.path().join(name), b"something else").unwrap();
            let error = ImageSet::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(ImageSet::read(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn images_with_a_parent_are_refused() {
        let dir = small_set();
        std::os::unix::fs::symlink("..", dir.path().join("parent")).unwrap();
        let error = ImageSet::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("parent"), "{error}");
    }
}
