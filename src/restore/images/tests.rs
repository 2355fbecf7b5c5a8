use std::io::IoSlice;

use super::*;
use crate::criu::{ProcessImages, proto};
use crate::pack::{SeekTable, pack};

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
    let threads = vec![10, 11];
    let pstree =
        proto::PstreeEntry { pid: 10, ppid: 0, pgid: 10, sid, threads, has_terminal: None };
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
fn terminals_are_asked_for_where_their_master_is_to_come() {
    let terminal = |id: u32| proto::TtyInfoEntry {
        id,
        pty: Some(proto::TtyPtyEntry { index: id / 2 }),
        termios: Some(proto::TermiosEntry::default()),
        ..Default::default()
    };
    let mut set = set(7);
    set.terminals = vec![terminal(7), terminal(6), terminal(8)];
    let mut child = set.processes[0].pstree.clone();
    (child.pid, child.has_terminal) = (20, Some(true));
    set.processes.push(ProcessImages { pstree: child, ..ProcessImages::default() });
    let tree = ImageSet::of_tree(Path::new("/d"), &set);
    // That of a shell is one that is there.
    assert_eq!((tree.ptys, tree.wants_terminal), ([3].into(), true));
    assert_eq!(tree.in_terminal_sessions, [20]);
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
fn pseudoterminals_are_made_by_their_masters() {
    let tty = |id, regf_id| {
        let tty = proto::TtyFileEntry { id, regf_id: Some(regf_id), ..Default::default() };
        (id, proto::FileEntry { id, tty: Some(tty), ..Default::default() })
    };
    let pty = |index| proto::TtyInfoEntry {
        pty: Some(proto::TtyPtyEntry { index }),
        ..Default::default()
    };
    let mut files =
        [regular(1, "/dev/ptmx", None), regular(2, "/dev/pts/3", None), tty(3, 1), tty(4, 2)];
    for (_, file) in &mut files {
        file.reg.iter_mut().for_each(|reg| reg.mode = Some(0o20_620));
    }
    let terminals = vec![pty(3), pty(3)];
    let set = criu::ImageSet { files: files.into(), terminals, ..set(10) };
    assert_eq!(expected_files(&set), [expected("/dev/ptmx", None)]);
    assert_eq!(ImageSet::of_tree(Path::new("/d"), &set).ptys, [3].into());
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
fn what_is_compressed_is_as_large_as_it_will_be() {
    let dir = tempfile::tempdir().unwrap();
    let (mut packed, mut table) = (Vec::new(), SeekTable::default());
    let content = vec![7; 3 * 4096];
    table.push(pack(Compression::Zstd, &[IoSlice::new(&content)], &mut packed).unwrap());
    packed.extend(table.to_bytes());
    fs::write(dir.path().join("pages-1.img.zst"), packed).unwrap();
    let images = list(dir.path()).unwrap();
    assert_eq!((images.len(), images[0].name.as_str(), images[0].size), (1, "pages-1.img", 12288));
    let set = ImageSet { images, ..ImageSet::empty(dir.path()) };
    let mut unpacked = Vec::new();
    set.open(&set.images[0]).unwrap().read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == content);
    fs::write(dir.path().join("pages-1.img"), "plain").unwrap();
    let images = list(dir.path()).unwrap();
    assert_eq!((images.len(), images[0].size, images[0].compression), (1, 5, None));
}

#[test]
fn more_than_any_guest_takes_is_refused() {
    let fits = |sizes: &[u64]| {
        let image = |&size| ImageFile { name: "a.img".into(), size, compression: None };
        fit(&sizes.iter().map(image).collect::<Vec<_>>())
    };
    assert!(fits(&[]) && fits(&[1 << 40, 1 << 51, 1 << 20]));
    assert!(!fits(&[1 << 52, 1]) && !fits(&[i64::MAX as u64; 3]) && !fits(&[u64::MAX, 1]));
}

#[test]
fn only_pages_are_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut packed, mut table) = (Vec::new(), SeekTable::default());
    let image = criu::ImageWriter::new(criu::ImageKind::Files).finish();
    table.push(pack(Compression::Lz4, &[IoSlice::new(&image)], &mut packed).unwrap());
    packed.extend(table.to_bytes());
    for name in ["files.img.lz4", "pages-shmem-1.img.lz4"] {
        fs::write(dir.path().join(name), &packed).unwrap();
    }
    assert!(list(dir.path()).unwrap().is_empty());
    let store = ImageDirectory::new(dir.path());
    assert_eq!(store.size("files.img").unwrap(), None);
    assert!(store.open("files.img").unwrap().is_none());
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
