//! Unix sockets with names.

use super::*;
use crate::snapshot::{Snapshot, SocketFamily};

fn good() -> Set {
    sample::image_set_of(&sample::with_names())
}

/// The record of the socket with an inode.
fn unix(set: &mut Set, ino: u32, f: impl Fn(&mut UnixSkEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        let mut sockets = files.iter_mut().filter_map(|file| file.usk.as_mut());
        f(sockets.find(|unix| unix.ino == ino).expect("a socket"));
    });
}

fn perms() -> Option<FilePermsEntry> {
    Some(FilePermsEntry { mode: 0, uid: 0, gid: 0 })
}

#[test]
fn names_come_back_decoded() {
    let set = check(&good(), CheckOptions::default()).expect("a good set");
    let mut sockets: Vec<_> = set.files.values().filter_map(|file| file.usk.as_ref()).collect();
    sockets.sort_by_key(|unix| unix.ino);
    let told: Vec<_> = sockets
        .iter()
        .map(|unix| (unix.state, unix.peer, unix.name.as_slice(), unix.deleted == Some(true)))
        .collect();
    assert_eq!(
        told,
        [
            (10, 0, &b"/run/s\0"[..], false),
            // Said to be closed, so that it is bound.
            (7, 603, b"/run/s\0", true),
            (1, 602, b"", false),
            (1, 601, b"", false),
            (7, 0, b"\0log", false),
            (1, 605, b"", false),
            (1, 607, b"echo\0", false),
        ]
    );
    assert_eq!(sockets[0].file_perms.map(|perms| perms.mode), Some(0o140_640));
    assert_eq!(sockets[6].name_dir.as_deref(), Some(&b"/run"[..]));
}

/// Whoever sends what is queued is the first one that is connected.
#[test]
fn what_is_connected_by_name_comes_behind_it() {
    let mut snapshot = sample::with_names();
    let set = |snapshot: &Snapshot| {
        let set = sample::image_set_of(snapshot);
        let set = check(&set, CheckOptions::default()).expect("a good set");
        let ino = |id: &u32| Some(set.files.get(id)?.usk.as_ref()?.ino);
        set.files_in_order.iter().filter_map(ino).collect::<Vec<_>>()
    };
    assert_eq!(set(&snapshot), [601, 602, 603, 605, 607, 604, 606]);
    let log = snapshot.sockets.get_mut(Id::new(4)).expect("a socket");
    let SocketFamily::Unix(unix) = &mut log.family else { panic!("Unix") };
    unix.sender = Some(Id::new(5));
    let listener = snapshot.sockets.get_mut(Id::new(0)).expect("a socket");
    let SocketFamily::Unix(unix) = &mut listener.family else { panic!("Unix") };
    unix.sender = None;
    assert_eq!(set(&snapshot), [601, 602, 603, 605, 607, 606, 604]);
}

#[test]
fn mistakes_in_names_are_found() {
    assert_found_in(
        &good(),
        &[
            (|s| unix(s, 601, |u| u.name = vec![]), "files.img", "usk.state"),
            (|s| unix(s, 602, |u| u.state = 1), "files.img", "usk.state"),
            (|s| unix(s, 605, |u| u.state = 10), "files.img", "usk.state"),
            (|s| unix(s, 601, |u| u.name = vec![b'/'; 109]), "files.img", "usk.name"),
            (
                |s| unix(s, 602, |u| u.name = [&[b'/'; 107][..], b"\0"].concat()),
                "files.img",
                "usk.name",
            ),
            (|s| unix(s, 601, |u| u.name = b"/run".into()), "files.img", "usk.name"),
            (|s| unix(s, 601, |u| u.name = b"/r\0n\0".into()), "files.img", "usk.name"),
            (|s| unix(s, 602, |u| u.deleted = None), "files.img", "usk.name"),
            (|s| unix(s, 601, |u| u.name_dir = Some(b"/".into())), "files.img", "usk.name_dir"),
            (|s| unix(s, 607, |u| u.name_dir = None), "files.img", "usk.name_dir"),
            (|s| unix(s, 607, |u| u.name_dir = Some(b"run".into())), "files.img", "usk.name_dir"),
            (|s| unix(s, 601, |u| u.file_perms = None), "files.img", "usk.file_perms"),
            (|s| unix(s, 605, |u| u.file_perms = perms()), "files.img", "usk.file_perms"),
            (|s| unix(s, 605, |u| u.deleted = Some(true)), "files.img", "usk.deleted"),
            (|s| unix(s, 605, |u| u.name = vec![]), "files.img", "usk.peer"),
            (|s| unix(s, 606, |u| u.peer = 607), "files.img", "usk.peer"),
            (|s| unix(s, 604, |u| u.peer = 603), "files.img", "usk.peer"),
            (|s| unix(s, 604, |u| u.r#type = 5), "files.img", "usk.type"),
            // Nobody else is there to send what is queued.
            (|s| unix(s, 604, |u| (u.peer, u.shutdown) = (0, Some(3))), "sk-queues.img", "id_for"),
            (
                |s| change(s, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| files.reverse()),
                "files.img",
                "usk.peer",
            ),
        ],
    );
}
