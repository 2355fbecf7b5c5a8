//! The same processes in the same state, saved by `ovmigrate` and dumped by the
//! guest's own CRIU: every field must be the same, or its difference intended.
//!
//! Each test has a list of what is intended to differ of what it compares, beside
//! what does so of every process. An entry of which nothing is seen fails it, too.

mod compare;
mod descriptors;
mod intended;
mod memory;
mod processes;
mod sockets;
mod terminals;
mod trees;

use std::collections::BTreeMap;
use std::process::Command;

use crate::decoded::Decoded;
use crate::families::by_process;
use crate::harness::{Guests, Job};
use compare::{Differences, In, differing, differing_pages, level};

/// Fields that a process has at least.
const LEAST_FIELDS: usize = 300;

/// Processes of a tree: all, and those that are no zombies.
#[derive(Clone, Copy)]
struct Members {
    all: usize,
    living: usize,
}

impl Members {
    const fn living(count: usize) -> Self {
        Self { all: count, living: count }
    }
}

/// Dumps a process with CRIU, which leaves it as it was, and fetches the images.
/// CRIU tells of no cgroups where all are in its own.
/// CRIU 3.17 compares the size of a deleted file with its limit, holes too.
/// Of TCP connections that were not accepted it asks to be told to leave them out.
fn dumped_by_criu(guests: &Guests, job: &Job<'_>, options: &[&str]) -> Decoded {
    let images = format!("{}.criu", job.log);
    job.guest.sh(&format!(
        "echo $$ >/sys/fs/cgroup/cgroup.procs; mkdir {images}; \
         criu dump -t {} -D {images} --leave-running --file-locks --ghost-limit 8M \
         --skip-in-flight -o dump.log {} || {{ grep Error {images}/dump.log; exit 1; }}; \
         tar -cf {images}.tar -C {images} . && rm -r {images}",
        job.pid,
        options.join(" ")
    ));
    let archive = guests.folder.join("criu.tar");
    job.guest.pull(&format!("{images}.tar"), &archive);
    job.guest.sh(&format!("rm {images}.tar"));
    let folder = guests.folder.join("criu");
    std::fs::create_dir(&folder).unwrap();
    let tar = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&folder).status().unwrap();
    assert!(tar.success());
    let decoded = Decoded::read(&folder);
    std::fs::remove_dir_all(folder).unwrap();
    decoded
}

fn saved_by_ovmigrate(guests: &Guests, job: &Job<'_>, options: &[&str]) -> Decoded {
    guests.save(job.pid, &[&["--leave-running"], options].concat()).stdout();
    let decoded = Decoded::read(guests.images().as_ref());
    std::fs::remove_dir_all(guests.images()).unwrap();
    decoded
}

/// The first address of a process that is executable.
fn first_code(job: &Job<'_>, pid: u32) -> u64 {
    let line = job.guest.sh(&format!("grep -m 1 ' r-xp ' /proc/{pid}/maps"));
    u64::from_str_radix(line.split('-').next().unwrap(), 16).expect("an address")
}

/// What differs of a process, to be called `name`.
fn differing_in(
    job: &Job<'_>,
    (pid, name): (u32, &str),
    ours: &mut Decoded,
    theirs: &mut Decoded,
) -> Differences {
    level(ours, theirs);
    let mut all = differing(ours, theirs);
    // A zombie has no memory.
    if !ours.pages.is_empty() {
        assert!(ours.fields.len() > LEAST_FIELDS, "{name}: {} fields", ours.fields.len());
        for page in differing_pages(ours, theirs, first_code(job, pid)) {
            all.entry(("page".to_owned(), In::Both)).or_insert(page);
        }
    }
    for example in all.values_mut() {
        *example = format!("{name}: {example}");
    }
    all
}

/// What differs in a tree, whose processes are compared one by one. The options are
/// those of both.
fn differing_in_tree(
    guests: &Guests,
    job: &Job<'_>,
    members: Members,
    options: &[&str],
) -> Differences {
    let name = job.guest.sh(&format!("tr '\\0' ' ' </proc/{}/cmdline", job.pid));
    let ours = by_process(&saved_by_ovmigrate(guests, job, options));
    let mut theirs = by_process(&dumped_by_criu(guests, job, options));
    assert_eq!(ours.len(), members.all, "{name}");
    let living = ours.values().filter(|images| !images.pages.is_empty()).count();
    assert_eq!(living, members.living, "{name}");
    let pids = |images: &BTreeMap<u32, Decoded>| images.keys().copied().collect::<Vec<_>>();
    assert_eq!(pids(&ours), pids(&theirs), "{name}");
    let mut all = Differences::new();
    for (pid, mut ours) in ours {
        let theirs = theirs.get_mut(&pid).expect("the same in both");
        let name = format!("{pid} of {name}");
        let found = differing_in(job, (pid, &name), &mut ours, theirs);
        all.extend(found);
    }
    all
}
