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
    let mut reader = ImageReader::new(kind, Cursor::new(&*bytes)).expect("an image");
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

/// Puts a file of another kind in the place of the first open one.
fn replace(set: &mut Set, kind: FdTypes, f: impl Fn(u32, &mut FileEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        let file = &mut files[1];
        (file.r#type, file.reg) = (kind as i32, None);
        f(file.id, file);
    });
    change(set, ImageKind::Fdinfo, 2, |entries: &mut Vec<FdinfoEntry>| {
        entries.iter_mut().filter(|fd| fd.id == 2).for_each(|fd| fd.r#type = kind as i32);
    });
}

fn eventfd(set: &mut Set, f: impl Fn(&mut EventfdFileEntry)) {
    replace(set, FdTypes::Eventfd, |id, file| {
        f(file.efd.insert(EventfdFileEntry { id, ..EventfdFileEntry::default() }));
    });
}

fn signalfd(set: &mut Set, f: impl Fn(&mut SignalfdEntry)) {
    replace(set, FdTypes::Signalfd, |id, file| {
        f(file.sgfd.insert(SignalfdEntry { id, ..SignalfdEntry::default() }));
    });
}

/// An instance of epoll that watches an end of a pipe.
fn epoll(set: &mut Set, f: impl Fn(&mut EventpollFileEntry)) {
    replace(set, FdTypes::Eventpoll, |id, file| {
        let target = EventpollTfdEntry { tfd: 3, events: 1, ..EventpollTfdEntry::default() };
        let tfd = vec![target];
        f(file.epfd.insert(EventpollFileEntry { id, tfd, ..EventpollFileEntry::default() }));
    });
}

/// An instance of inotify that watches a file.
fn inotify(set: &mut Set, f: impl Fn(&mut InotifyFileEntry)) {
    replace(set, FdTypes::Inotify, |id, file| {
        let path = Some(b"/etc".to_vec());
        let f_handle = FhEntry { path, ..FhEntry::default() };
        let watch = InotifyWdEntry { wd: 1, mask: 2, f_handle, ..InotifyWdEntry::default() };
        let wd = vec![watch];
        f(file.ify.insert(InotifyFileEntry { id, wd, ..InotifyFileEntry::default() }));
    });
}

/// A second watch, after `f` has seen to it.
fn inotify_twice(set: &mut Set, f: impl Fn(&mut InotifyWdEntry)) {
    inotify(set, |instance| {
        let mut watch = instance.wd[0].clone();
        f(&mut watch);
        instance.wd.push(watch);
    });
}

/// A group of fanotify that watches a file and a mount.
fn fanotify(set: &mut Set, f: impl Fn(&mut FanotifyFileEntry)) {
    replace(set, FdTypes::Fanotify, |id, file| {
        let f_handle = FhEntry { path: Some(b"/etc".to_vec()), ..FhEntry::default() };
        let inode = FanotifyMarkEntry {
            r#type: MarkType::Inode as i32,
            mask: 2,
            ie: Some(FanotifyInodeMarkEntry { i_ino: 1, f_handle }),
            ..FanotifyMarkEntry::default()
        };
        let mount = FanotifyMarkEntry {
            r#type: MarkType::Mount as i32,
            mask: 2,
            me: Some(FanotifyMountMarkEntry { mnt_id: 0, path: Some("/tmp".into()) }),
            ..FanotifyMarkEntry::default()
        };
        let mark = vec![inode, mount];
        f(file.ffy.insert(FanotifyFileEntry { id, mark, ..FanotifyFileEntry::default() }));
    });
}

/// A timer that fires at a time of its clock.
fn timerfd(set: &mut Set, f: impl Fn(&mut TimerfdEntry)) {
    replace(set, FdTypes::Timerfd, |id, file| {
        let timer = TimerfdEntry { id, settime_flags: 1, vsec: 5, ..TimerfdEntry::default() };
        f(file.tfd.insert(timer));
    });
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
        (|s| eventfd(s, |e| e.id = 99), "files.img", "efd.id"),
        (|s| eventfd(s, |e| e.counter = 1 << 32), "files.img", "efd.counter"),
        (|s| signalfd(s, |e| e.id = 99), "files.img", "sgfd.id"),
        (|s| signalfd(s, |e| e.sigmask = 1 << 8), "files.img", "sgfd.sigmask"),
        (|s| timerfd(s, |t| t.id = 99), "files.img", "tfd.id"),
        (|s| timerfd(s, |t| t.clockid = 9), "files.img", "tfd.clockid"),
        (|s| timerfd(s, |t| t.settime_flags = 5), "files.img", "tfd.settime_flags"),
        (|s| timerfd(s, |t| t.settime_flags = 2), "files.img", "tfd.settime_flags"),
        (|s| timerfd(s, |t| t.vsec = 0), "files.img", "tfd.settime_flags"),
        (|s| timerfd(s, |t| t.vnsec = 1_000_000_000), "files.img", "tfd.vnsec"),
        (|s| timerfd(s, |t| t.isec = 1 << 63), "files.img", "tfd.insec"),
        (|s| epoll(s, |e| e.id = 99), "files.img", "epfd.id"),
        (|s| epoll(s, |e| e.tfd[0].tfd = 99), "files.img", "epfd.tfd"),
        (|s| epoll(s, |e| e.tfd[0].tfd = 0), "files.img", "epfd.tfd"),
        (|s| epoll(s, |e| e.tfd.push(e.tfd[0])), "files.img", "epfd.tfd"),
        (|s| epoll(s, |e| e.tfd[0].events = 3 << 28 | 2), "files.img", "epfd.events"),
        (|s| inotify(s, |i| i.id = 99), "files.img", "ify.id"),
        (|s| inotify(s, |i| i.flags = 0o20_000), "files.img", "ify.flags"),
        (|s| inotify(s, |i| i.wd[0].wd = 0), "files.img", "ify.wd"),
        (|s| inotify(s, |i| i.wd[0].wd = 1 << 31), "files.img", "ify.wd"),
        (|s| inotify(s, |i| i.wd[0].mask = 0), "files.img", "ify.wd.mask"),
        (|s| inotify(s, |i| i.wd[0].mask = 1 << 31 | 2), "files.img", "ify.wd.mask"),
        (|s| inotify(s, |i| i.wd[0].f_handle.path = None), "files.img", "ify.wd.f_handle.path"),
        (|s| fanotify(s, |g| g.id = 99), "files.img", "ffy.id"),
        (|s| fanotify(s, |g| g.faflags = 4), "files.img", "ffy.faflags"),
        (|s| fanotify(s, |g| g.faflags = 2), "files.img", "ffy.faflags"),
        (|s| fanotify(s, |g| g.mark[0].mask = 1 << 16), "files.img", "ffy.mark.mask"),
        (|s| fanotify(s, |g| g.mark[1].ignored_mask = 1 << 17), "files.img", "ffy.mark.mask"),
        (|s| fanotify(s, |g| g.mark[0].r#type = 0), "files.img", "ffy.mark"),
        (|s| fanotify(s, |g| g.mark[1].me = None), "files.img", "ffy.mark"),
        (|s| inotify_twice(s, |w| w.wd = 2), "files.img", "ify.wd.f_handle.path"),
        (|s| inotify_twice(s, |w| w.f_handle.path = Some(b"/".into())), "files.img", "ify.wd"),
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

#[test]
fn descriptors_that_tell_of_events_pass() {
    let makers: [fn(&mut Set); 6] = [
        |s| inotify_twice(s, |w| (w.wd, w.f_handle.path) = (7, Some(b"/".into()))),
        |s| fanotify(s, |_| ()),
        |s| epoll(s, |e| e.tfd[0].events = 5 << 29 | 1 << 28 | 0x1d),
        |s| eventfd(s, |e| e.counter = u64::from(u32::MAX)),
        |s| signalfd(s, |e| e.sigmask = 1 << 9),
        |s| timerfd(s, |t| t.settime_flags = 3),
    ];
    for make in makers {
        let mut set = sample::image_set();
        make(&mut set);
        check(&set, CheckOptions::default()).expect("a good set");
    }
}
