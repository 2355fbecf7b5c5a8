//! Processes and their descriptors, as several checks look for them.

use std::collections::{HashMap, HashSet};

use crate::criu::proto::{FdTypes, FdinfoEntry};
use crate::criu::set::ImageSet;

pub struct Descriptors<'a> {
    pids: HashSet<u32>,
    /// By PID and number, the last of several.
    open: HashMap<(u32, u32), &'a FdinfoEntry>,
    /// By instance of epoll, the lowest PID of those that have it.
    openers: HashMap<u32, u32>,
}

impl<'a> Descriptors<'a> {
    pub fn of(set: &'a ImageSet) -> Self {
        let mut openers = HashMap::new();
        let mut open = HashMap::new();
        let is_epoll = |id: &u32| {
            set.files.get(id).is_some_and(|file| file.r#type == FdTypes::Eventpoll as i32)
        };
        for process in &set.processes {
            let pid = process.pstree.pid;
            for entry in &process.fdinfo {
                open.insert((pid, entry.fd), entry);
                if is_epoll(&entry.id) {
                    let opener = openers.entry(entry.id).or_insert(pid);
                    *opener = pid.min(*opener);
                }
            }
        }
        let pids = set.processes.iter().map(|process| process.pstree.pid).collect();
        Self { pids, open, openers }
    }

    pub fn has_process(&self, pid: u32) -> bool {
        self.pids.contains(&pid)
    }

    pub fn get(&self, pid: u32, fd: u32) -> Option<&'a FdinfoEntry> {
        self.open.get(&(pid, fd)).copied()
    }

    /// The process that restore makes an instance of epoll in.
    pub fn opener(&self, instance: u32) -> Option<u32> {
        self.openers.get(&instance).copied()
    }
}
