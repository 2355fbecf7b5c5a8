//! Open files, descriptors and directories.

mod descriptors;
mod epoll;
mod event;
mod ghost;
mod lock;
mod memfd;
mod pidfd;
mod pipe;
mod socket;
mod tty;
mod watched;

use std::collections::HashSet;

use super::options::CheckOptions;
use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::proto::{FdTypes, FileEntry, RegFileEntry};
use crate::criu::set::{ImageSet, ProcessImages};
use descriptors::Descriptors;
use tty::Terminals;

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
/// Bytes of a path at most, with the zero behind it (`include/uapi/linux/limits.h`).
const PATH_MAX: usize = 4096;

pub fn check_table(set: &ImageSet, options: CheckOptions, findings: &mut Findings) {
    let descriptors = Descriptors::of(set);
    let terminals = Terminals::of(set);
    let mut found = findings.of(ImageKind::Files, 0, None);
    for file in set.files.values() {
        let id = file.id;
        let mut absent = |message| found.add(message, format!("of file {id} is absent"));
        match FdTypes::try_from(file.r#type) {
            Ok(FdTypes::Reg) => match &file.reg {
                Some(reg) => check_reg(id, reg, &mut found),
                None => absent("reg"),
            },
            Ok(FdTypes::Pipe) => match &file.pipe {
                Some(entry) => pipe::check_pipe(id, entry, &mut found),
                None => absent("pipe"),
            },
            Ok(FdTypes::Fifo) => match &file.fifo {
                Some(entry) => pipe::check_fifo(set, id, entry, &mut found),
                None => absent("fifo"),
            },
            Ok(FdTypes::Memfd) => match &file.memfd {
                Some(entry) => memfd::check_file(set, id, entry, &mut found),
                None => absent("memfd"),
            },
            Ok(FdTypes::Tty) => match &file.tty {
                Some(entry) => tty::check_file(set, &terminals, id, entry, &mut found),
                None => absent("tty"),
            },
            Ok(FdTypes::Pidfd) => match &file.pidfd {
                Some(entry) => pidfd::check(&descriptors, id, entry, &mut found),
                None => absent("pidfd"),
            },
            Ok(FdTypes::Inetsk) => match &file.isk {
                Some(entry) => socket::check_inet(id, entry, &mut found),
                None => absent("isk"),
            },
            Ok(FdTypes::Netlinksk) => match &file.nlsk {
                Some(entry) => socket::check_netlink(id, entry, &mut found),
                None => absent("nlsk"),
            },
            Ok(FdTypes::Packetsk) => match &file.psk {
                Some(entry) => socket::check_packet(id, entry, &mut found),
                None => absent("psk"),
            },
            Ok(FdTypes::Unixsk) => match &file.usk {
                Some(entry) => socket::check_unix(id, entry, &mut found),
                None => absent("usk"),
            },
            Ok(FdTypes::Inotify) => match &file.ify {
                Some(entry) => watched::check_inotify(id, entry, &mut found),
                None => absent("ify"),
            },
            Ok(FdTypes::Fanotify) => match &file.ffy {
                Some(entry) => watched::check_fanotify(id, entry, &mut found),
                None => absent("ffy"),
            },
            Ok(FdTypes::Eventpoll) => match &file.epfd {
                Some(entry) => epoll::check(&descriptors, id, entry, &mut found),
                None => absent("epfd"),
            },
            Ok(FdTypes::Eventfd) => match &file.efd {
                Some(entry) => event::check_eventfd(id, entry, &mut found),
                None => absent("efd"),
            },
            Ok(FdTypes::Signalfd) => match &file.sgfd {
                Some(entry) => event::check_signalfd(id, entry, &mut found),
                None => absent("sgfd"),
            },
            Ok(FdTypes::Timerfd) => match &file.tfd {
                Some(entry) => event::check_timerfd(id, entry, &mut found),
                None => absent("tfd"),
            },
            // Of a kind that save does not write.
            _ => {}
        }
    }
    pipe::check_data(set, findings);
    lock::check(set, &descriptors, findings);
    ghost::check(set, findings);
    memfd::check(set, findings);
    socket::check(set, findings);
    tty::check(set, &terminals, options, findings);
}

fn is_by_path(file: &FileEntry) -> bool {
    file.r#type == FdTypes::Reg as i32
}

fn check_reg(id: u32, reg: &RegFileEntry, found: &mut ImageFindings<'_>) {
    found.require(reg.id == id, "reg.id", || format!("of file {id} is {}", reg.id));
    let is_path = reg.name.starts_with(b"/") && !reg.name.contains(&0);
    found.require(is_path, "reg.name", || {
        format!("of file {id} is no absolute path: {:?}", reg.name.escape_ascii().to_string())
    });
    let length = reg.name.len();
    found.require(length < PATH_MAX, "reg.name", || {
        format!("of file {id} has {length} bytes, more than any that can be opened")
    });
}

pub fn check_process(set: &ImageSet, process: &ProcessImages, findings: &mut Findings) {
    let pid = process.pstree.pid;
    let mut found = findings.of(ImageKind::Fdinfo, process.ids.files_id, Some(pid));
    let mut fds = HashSet::new();
    for entry in &process.fdinfo {
        let fd = entry.fd;
        found.require(fds.insert(fd), "fd", || format!("{fd} is not unique"));
        found.require(entry.flags <= 1, "flags", || format!("of fd {fd} are {:#x}", entry.flags));
        match set.files.get(&entry.id) {
            Some(file) => found.require(file.r#type == entry.r#type, "type", || {
                format!("of fd {fd} is not that of file {}", entry.id)
            }),
            None => found.add("id", format!("{} of fd {fd} is not in files.img", entry.id)),
        }
    }
    let mut found = findings.of(ImageKind::Fs, pid, Some(pid));
    for (field, id) in [("cwd_id", process.fs.cwd_id), ("root_id", process.fs.root_id)] {
        found
            .require(is_directory(set, id), field, || format!("{id} is no directory in files.img"));
    }
}

fn is_directory(set: &ImageSet, id: u32) -> bool {
    let file = set.files.get(&id).filter(|file| is_by_path(file));
    let reg = file.and_then(|file| file.reg.as_ref());
    reg.is_some_and(|reg| reg.mode.is_none_or(|mode| mode & S_IFMT == S_IFDIR))
}
