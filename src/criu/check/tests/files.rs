//! Open files, what is in them, and locks.

use super::*;

fn reg(set: &mut Set, f: impl Fn(&mut RegFileEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        f(files[0].reg.as_mut().expect("reg"));
    });
}

fn remap(set: &mut Set, f: impl Fn(&mut RemapFilePathEntry)) {
    change(set, ImageKind::RemapFpath, 0, |remaps| f(&mut remaps[0]));
}

/// The record of the deleted file that is in chunks.
fn ghost(set: &mut Set, f: impl Fn(&mut GhostFileEntry)) {
    let name = ImageKind::GhostFile.file_name(2);
    change_first(set, ImageKind::GhostFile, &name, f);
}

/// Changes the first record of an image, and nothing behind it.
fn change_first<M: Message + Default>(
    set: &mut Set,
    kind: ImageKind,
    name: &str,
    f: impl Fn(&mut M),
) {
    let bytes = set.get_mut(name).expect("the image");
    let mut reader = ImageReader::new(kind, bytes.as_slice()).expect("an image");
    let mut entry: M = reader.next_record().expect("a record").expect("an entry");
    let rest = bytes.len() - reader.skip_rest().expect("the rest") as usize;
    let rest = bytes[rest..].to_vec();
    f(&mut entry);
    let mut image = ImageWriter::new(kind);
    image.record(&entry).expect("a record");
    image.payload(&rest);
    *bytes = image.finish();
}

fn lock(set: &mut Set, f: impl Fn(&mut FileLockEntry)) {
    change(set, ImageKind::FileLocks, 0, |locks| f(&mut locks[0]));
}

/// The record of the first open file of a kind.
fn opened<M>(set: &mut Set, part: impl Fn(&mut FileEntry) -> Option<&mut M>, f: impl Fn(&mut M)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        f(files.iter_mut().find_map(&part).expect("a file of the kind"));
    });
}

fn pipe(set: &mut Set, f: impl Fn(&mut PipeEntry)) {
    opened(set, |file| file.pipe.as_mut(), f);
}

fn fifo(set: &mut Set, f: impl Fn(&mut FifoEntry)) {
    opened(set, |file| file.fifo.as_mut(), f);
}

/// The only record of the pipes' data.
fn pipe_data(set: &mut Set, f: impl Fn(&mut PipeDataEntry)) {
    change_first(set, ImageKind::PipesData, "pipes-data.img", f);
}

/// Puts a pidfd in the place of the first open file.
fn pidfd(set: &mut Set, f: impl Fn(&mut PidfdEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        let file = &mut files[1];
        let mut pidfd = PidfdEntry { id: file.id, nspid: 100, ..PidfdEntry::default() };
        f(&mut pidfd);
        (file.r#type, file.reg, file.pidfd) = (FdTypes::Pidfd as i32, None, Some(pidfd));
    });
}

/// Gives the executable a path that a deleted directory is on.
fn in_deleted_directory(set: &mut Set, path: &[u8]) {
    reg(set, |reg| reg.name = path.to_vec());
}

fn fdinfo(set: &mut Set, f: impl Fn(&mut FdinfoEntry)) {
    change(set, ImageKind::Fdinfo, 2, |entries| f(&mut entries[0]));
}

#[test]
fn mistakes_in_files_are_found() {
    assert_found(&[
        (|s| reg(s, |r| r.id = 77), "files.img", "reg.id"),
        (|s| reg(s, |r| r.name = b"usr/bin".to_vec()), "files.img", "reg.name"),
        (|s| reg(s, |r| r.name = b"/usr\0/bin".to_vec()), "files.img", "reg.name"),
        (
            |s| change(s, ImageKind::Files, 0, |f: &mut Vec<FileEntry>| f[0].reg = None),
            "files.img",
            "reg",
        ),
        (
            |s| change(s, ImageKind::Files, 0, |f: &mut Vec<FileEntry>| f[0].id = 2),
            "files.img",
            "id",
        ),
        (|s| pipe(s, |p| p.id = 99), "files.img", "pipe.id"),
        (|s| pipe(s, |p| p.pipe_id = 99), "pipes-data.img", "pipe_id"),
        (|s| fifo(s, |f| f.id = 99), "files.img", "fifo.id"),
        (|s| fifo(s, |f| f.regf_id = Some(99)), "files.img", "fifo.regf_id"),
        (|s| fifo(s, |f| f.pipe_id = 99), "fifo-data.img", "pipe_id"),
        (|s| pipe_data(s, |d| d.size = Some(8)), "pipes-data.img", "bytes"),
        (|s| pipe_data(s, |d| d.bytes = 10), "pipes-data.img", ""),
        (|s| lock(s, |l| l.pid = 99), "filelocks.img", "pid"),
        (|s| lock(s, |l| l.fd = 99), "filelocks.img", "fd"),
        (|s| lock(s, |l| l.flag = 3), "filelocks.img", "flag"),
        (|s| lock(s, |l| l.r#type = 5), "filelocks.img", "type"),
        (|s| lock(s, |l| l.start = -1), "filelocks.img", "len"),
        (|s| lock(s, |l| l.len = i64::MAX), "filelocks.img", "len"),
        (|s| remap(s, |r| r.orig_id = 99), "remap-fpath.img", "orig_id"),
        (|s| remap(s, |r| r.remap_id = 10), "ghost-file-a.img", ""),
        (|s| remap(s, |r| r.remap_id = 2), "ghost-file-2.img", "size"),
        (|s| ghost(s, |g| g.mode = 0), "ghost-file-2.img", "mode"),
        (|s| ghost(s, |g| g.size = None), "ghost-file-2.img", "size"),
        (|s| ghost(s, |g| g.size = Some(4096)), "ghost-file-2.img", "off"),
        (|s| pidfd(s, |p| p.id = 99), "files.img", "pidfd.id"),
        (|s| pidfd(s, |p| p.flags = 2), "files.img", "pidfd.flags"),
        (|s| pidfd(s, |p| p.nspid = 101), "files.img", "pidfd.nspid"),
        (|s| in_deleted_directory(s, b"/tmp/gone"), "files.img", "reg.name"),
        (|s| in_deleted_directory(s, b"/tmp/gone/file"), "files.img", "reg.name"),
        (|s| fdinfo(s, |f| f.id = 99), "fdinfo-2.img", "id"),
        (|s| fdinfo(s, |f| f.fd = 1), "fdinfo-2.img", "fd"),
        (|s| fdinfo(s, |f| f.flags = 2), "fdinfo-2.img", "flags"),
        (|s| fdinfo(s, |f| f.r#type = 2), "fdinfo-2.img", "type"),
        (
            |s| change(s, ImageKind::Fs, 100, |f: &mut Vec<FsEntry>| f[0].cwd_id = 1),
            "fs-100.img",
            "cwd_id",
        ),
        (
            |s| change(s, ImageKind::Fs, 100, |f: &mut Vec<FsEntry>| f[0].root_id = 99),
            "fs-100.img",
            "root_id",
        ),
    ]);
}
