//! Terminals and what waits to be read from them.

use super::*;

fn set() -> Set {
    sample::image_set_of(&sample::terminals())
}

/// Changes the record of the terminal `id`.
fn info(set: &mut Set, id: u32, f: impl Fn(&mut TtyInfoEntry)) {
    change(set, ImageKind::TtyInfo, 0, |terminals: &mut Vec<TtyInfoEntry>| {
        f(terminals.iter_mut().find(|info| info.id == id).expect("a terminal"));
    });
}

/// Changes the record of the first file of the terminal `id`.
fn opened(set: &mut Set, id: u32, f: impl Fn(&mut TtyFileEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        let mut opened = files.iter_mut().filter_map(|file| file.tty.as_mut());
        f(opened.find(|tty| tty.tty_info_id == id).expect("a file"));
    });
}

fn data(set: &mut Set, f: impl Fn(&mut TtyDataEntry)) {
    change(set, ImageKind::TtyData, 0, |data| f(&mut data[0]));
}

/// Moves what has a path elsewhere.
fn moved(set: &mut Set, from: &[u8], to: &[u8]) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        let paths = files.iter_mut().filter_map(|file| file.reg.as_mut());
        paths.filter(|reg| reg.name == from).for_each(|reg| reg.name = to.to_vec());
    });
}

const SLAVE: u32 = 6;
const MASTER: u32 = 7;
const CONTROLLING: u32 = 2012;

#[test]
fn terminals_come_back_decoded() {
    let set = check(&set(), CheckOptions::default()).expect("a good set");
    let ids: Vec<_> = set.terminals.iter().map(|info| info.id).collect();
    assert_eq!(ids, [MASTER, SLAVE, CONTROLLING]);
    let [master, slave, controlling] = &set.terminals[..] else { panic!("three") };
    assert_eq!((master.sid, master.pgrp, master.pty.expect("pty").index), (100, 100, 3));
    assert_eq!((slave.sid, slave.rdev, slave.uid, slave.gid), (0, 0x8803, Some(0), Some(5)));
    assert_eq!((controlling.r#type, controlling.pty), (TtyType::Ctty as i32, None));
    let termios = slave.termios.as_ref().expect("settings");
    assert_eq!(termios.c_iflag, 0o2400);
    assert_eq!(
        termios.c_cc[..6],
        [0x0404_0404, 0x0404_0404, 0x0404_0404, 0x0404_0404, 0x04_0404, 0]
    );
    assert_eq!(termios.c_cc.len(), 19);
    // Locked once they are made.
    let locked = |info: &TtyInfoEntry| info.termios_locked.as_ref().expect("settings").c_lflag;
    assert_eq!([master, slave].map(locked), [0, 0o10]);
    assert_eq!(slave.winsize.expect("a window").ws_col, 80);
    let waiting = set.terminal_data.iter().map(|data| (data.tty_id, data.data.as_slice()));
    assert_eq!(waiting.collect::<Vec<_>>(), [(MASTER, &b"unread"[..]), (SLAVE, b"unread")]);
}

fn hang_up(info: &mut TtyInfoEntry) {
    (info.termios, info.termios_locked, info.winsize) = (None, None, None);
}

#[test]
fn a_terminal_that_was_hung_up_needs_no_master() {
    let mut snapshot = sample::terminals();
    let slave = snapshot.terminals.get_mut(Id::new(0)).expect("a terminal");
    slave.settings = None;
    slave.kind = crate::snapshot::TerminalKind::PtySlave { index: 4 };
    (slave.rdev, slave.unread) = (0x8804, Vec::new());
    snapshot.terminals.get_mut(Id::new(2)).expect("the master").unread = Vec::new();
    let mut set = sample::image_set_of(&snapshot);
    moved(&mut set, b"/dev/pts/3", b"/dev/pts/4");
    info(&mut set, MASTER, |info| info.termios_locked = Some(nothing()));
    check(&set, CheckOptions::default()).expect("a good set");
}

/// Settings of which all are zero.
fn nothing() -> TermiosEntry {
    TermiosEntry { c_cc: vec![0; 19], ..TermiosEntry::default() }
}

#[test]
fn mistakes_in_terminals_are_found() {
    assert_found_in(
        &set(),
        &[
            (|s| opened(s, SLAVE, |t| t.id = 99), "files.img", "tty.id"),
            (|s| opened(s, SLAVE, |t| t.tty_info_id = 99), "files.img", "tty.tty_info_id"),
            (|s| opened(s, SLAVE, |t| t.regf_id = None), "files.img", "tty.regf_id"),
            (|s| opened(s, SLAVE, |t| t.regf_id = Some(t.id)), "files.img", "tty.regf_id"),
            (|s| moved(s, b"/dev/pts/3", b"/dev/pts/4"), "files.img", "tty.regf_id"),
            (|s| moved(s, b"/dev/ptmx", b"/tmp/ptmx"), "files.img", "tty.regf_id"),
            (|s| opened(s, SLAVE, |t| t.tty_info_id = MASTER), "tty-info.img", "id"),
            (|s| info(s, SLAVE, |i| i.id = MASTER), "tty-info.img", "id"),
            (|s| info(s, CONTROLLING, |i| i.id = 3000), "tty-info.img", "id"),
            (|s| info(s, SLAVE, |i| i.id = 8), "tty-info.img", "type"),
            (|s| info(s, SLAVE, |i| i.pty = None), "tty-info.img", "type"),
            (|s| info(s, SLAVE, |i| i.rdev = 0x440), "tty-info.img", "type"),
            (|s| info(s, SLAVE, |i| i.r#type = TtyType::Vt as i32), "tty-info.img", "type"),
            (|s| info(s, CONTROLLING, |i| i.rdev = 0x501), "tty-info.img", "type"),
            (|s| info(s, SLAVE, |i| i.termios = None), "tty-info.img", "termios"),
            (|s| info(s, SLAVE, hang_up), "tty-info.img", "pty.index"),
            (|s| info(s, MASTER, hang_up), "tty-info.img", "termios"),
            (|s| info(s, MASTER, |i| i.winsize = None), "tty-info.img", "termios"),
            (
                |s| info(s, SLAVE, |i| i.termios.as_mut().expect("settings").c_cc.truncate(5)),
                "tty-info.img",
                "termios",
            ),
            (
                |s| info(s, MASTER, |i| i.termios_locked.as_mut().expect("settings").c_cc[0] = 1),
                "tty-info.img",
                "termios_locked",
            ),
            (|s| info(s, SLAVE, |i| i.exclusive = true), "tty-info.img", "exclusive"),
            (|s| info(s, MASTER, |i| i.sid = 99), "tty-info.img", "sid"),
            (|s| info(s, MASTER, |i| i.pgrp = 99), "tty-info.img", "pgrp"),
            (
                |s| change(s, ImageKind::TtyInfo, 0, |t: &mut Vec<TtyInfoEntry>| t.swap(0, 1)),
                "tty-info.img",
                "pty.index",
            ),
            (|s| data(s, |d| d.tty_id = CONTROLLING), "tty-data.img", "tty_id"),
            (|s| data(s, |d| d.tty_id = SLAVE), "tty-data.img", "tty_id"),
            (|s| data(s, |d| d.data = vec![0; 8193]), "tty-data.img", "data"),
        ],
    );
}

/// A job of the shell that leads session 50, whose master is not in the set.
fn job() -> Set {
    let mut set = set();
    change(&mut set, ImageKind::Pstree, 0, |entries: &mut Vec<PstreeEntry>| {
        entries.iter_mut().for_each(|entry| entry.sid = 50);
    });
    change(&mut set, ImageKind::TtyInfo, 0, |terminals: &mut Vec<TtyInfoEntry>| {
        terminals.retain(|info| info.id != MASTER);
    });
    info(&mut set, SLAVE, |info| info.termios_locked = Some(nothing()));
    info(&mut set, CONTROLLING, |info| (info.sid, info.pgrp) = (50, 40));
    // One file of each terminal.
    let (mut left, mut gone) = (vec![SLAVE, CONTROLLING], Vec::new());
    change(&mut set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        files.retain(|file| {
            let Some(tty) = &file.tty else { return true };
            let place = left.iter().position(|id| *id == tty.tty_info_id);
            let stays = place.map(|place| left.remove(place)).is_some();
            gone.extend((!stays).then_some(file.id));
            stays
        });
    });
    change(&mut set, ImageKind::Fdinfo, 2, |fds: &mut Vec<FdinfoEntry>| {
        fds.retain(|fd| !gone.contains(&fd.id));
    });
    set.remove("tty-data.img");
    set
}

#[test]
fn a_job_takes_the_terminal_of_its_shell() {
    let shell_job = CheckOptions { shell_job: true };
    let found = check(&job(), shell_job).expect("a good set");
    assert_eq!(found.session_of_shell(), Some(50));
    assert_eq!(found.terminals_without_master().count(), 1);
    let error = check(&job(), CheckOptions::default()).unwrap_err();
    assert!(error.violations.iter().any(|v| v.field == "pty.index"), "{error}");

    let found_in = |set: &Set, field: &str| {
        let error = check(set, shell_job).expect_err(field);
        assert!(error.violations.iter().any(|v| v.field == field), "{field}: {error}");
    };
    let mut other_flags = job();
    opened(&mut other_flags, SLAVE, |tty| tty.flags |= 0o4000);
    found_in(&other_flags, "flags");
    let mut twice = job();
    opened(&mut twice, CONTROLLING, |tty| tty.tty_info_id = SLAVE);
    found_in(&twice, "id");
    let mut two = job();
    change(&mut two, ImageKind::TtyInfo, 0, |terminals: &mut Vec<TtyInfoEntry>| {
        let mut other = terminals[0].clone();
        (other.id, other.rdev, other.pty) = (8, 0x8804, Some(TtyPtyEntry { index: 4 }));
        terminals.push(other);
    });
    found_in(&two, "pty.index");
}
