//! The same process in the same state, saved by `ovmigrate` and dumped by the
//! guest's own CRIU: every field must be the same, or its difference intended.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::process::Command;

use crate::confinement;
use crate::decoded::Decoded;
use crate::events;
use crate::families::by_process;
use crate::files;
use crate::harness::{Guests, Job, TestKernel, guests};
use crate::{sharing, terminals};

/// Kernels whose guests have CRIU 3.17, those with CRIU 4, and all but CRIU 4.2.
const CRIU_3: &[&str] = &["5.10", "6.1"];
const CRIU_4: &[&str] = &["6.12", "7.2"];
const BEFORE_4_2: &[&str] = &["5.10", "6.1", "6.12"];
const ALL: &[&str] = &["5.10", "6.1", "6.12", "7.2"];

/// Fields that differ, as paths without indices and PIDs, on which kernels, and
/// why.
const INTENDED: [(&str, &[&str], &str); 20] = [
    ("core.tc.cg_set", CRIU_4, "CRIU 4 has it with each thread alone, CRIU 3 with the process"),
    ("core.thread_core.cg_set", CRIU_3, "as above"),
    ("core.tc.loginuid", ALL, "an absent one is one that was never set, which CRIU writes as -1"),
    ("core.tc.stop_signo", CRIU_3, "came with CRIU 3.18"),
    ("core.tc.timers.posix.clock_id", ALL, "CRIU takes each thread's CPU clock for the leader's"),
    ("core.tc.timers.posix.insec", CRIU_3, "CRIU arms a CPU timer that is off but has an interval"),
    ("core.tc.timers.posix.isec", CRIU_3, "as above; newer kernels forget the interval"),
    ("core.tc.timers.prof.isec", ALL, "CRIU disarms a timer that fires once; see `criu::core`"),
    ("core.thread_core.creds.cap_amb", CRIU_3, "came with a later CRIU than 3.17"),
    ("core.thread_core.creds.no_new_privs", ALL, "CRIU 3.17 has none, CRIU 4 writes no zero"),
    ("core.thread_info.4", ALL, "the TLS segments of 32-bit code, which is refused"),
    ("core.thread_info.fpregs.xsave.bndreg_state", ALL, "all zero: the kernel does not enable MPX"),
    (
        "core.thread_info.gpregs.orig_ax",
        ALL,
        "a sleep that is thawed goes on as restart_syscall(2)",
    ),
    ("files.reg.build_id", ALL, "sizes and modes are compared instead"),
    ("inventory.dump_criu_run_id", CRIU_4, "a restore that is told none asks for none"),
    ("inventory.lsmtype", ALL, "where no thread has a label nobody asks for it"),
    ("inventory.network_lock_method", ALL, "there are no connections to lock: skip"),
    ("mm.vmas.fdflags", ALL, "a private mapping needs its file for reading only"),
    ("mm.vmas.flags", &["6.12"], "CRIU 4.1 makes private memory of droppable"),
    ("mm.vmas.madv", BEFORE_4_2, "CRIU loses MADV_WIPEONFORK before 4.2"),
];

/// The same for trees alone.
const INTENDED_IN_TREES: &[(&str, &[&str], &str)] = &[
    ("files.memfd.inode.mode", CRIU_3, "came with CRIU 3.19"),
    ("files.epfd.tfd.dev", ALL, "for finding a descriptor in a dump, which was done"),
    ("files.epfd.tfd.inode", ALL, "as above"),
    ("files.epfd.tfd.pos", ALL, "as above"),
    ("files.ffy.mark.ie.f_handle.bytes", ALL, "as of inotify"),
    ("files.ffy.mark.ie.f_handle.handle", ALL, "as above"),
    ("files.ffy.mark.ie.f_handle.path", ALL, "what restore goes by"),
    ("files.ffy.mark.ie.f_handle.type", ALL, "as above"),
    ("files.ffy.mark.me.mnt_id", ALL, "restore goes by the path"),
    ("files.ify.wd.f_handle.bytes", ALL, "a handle means nothing elsewhere; the path is the same"),
    ("files.ify.wd.f_handle.handle", ALL, "as above"),
    ("files.ify.wd.f_handle.type", ALL, "as above"),
    ("files.tfd.settime_flags", ALL, "CRIU sets a timer that is off but was set until a time"),
    ("files.tfd.ticks", ALL, "CRIU stops a timer that waits to be read, and loses what it missed"),
    ("files.isk.ip_opts.ttl", CRIU_4, "CRIU writes the default, too"),
    ("files.isk.ns_id", ALL, "CRIU leaves it out where a socket is not bound"),
    ("files.isk.opts.so_mark", CRIU_3, "CRIU 3.17 writes it where it is 0, too"),
    ("files.isk.opts.so_passcred", ALL, "CRIU 4.2 writes none"),
    ("files.isk.opts.so_passsec", ALL, "as above"),
    ("files.isk.opts.tcp_keepcnt", ALL, "as `ip_opts.ttl`; CRIU 4 writes them in `tcp_opts`"),
    ("files.isk.opts.tcp_keepidle", ALL, "as above"),
    ("files.isk.opts.tcp_keepintvl", ALL, "as above"),
    ("files.isk.tcp_opts.keepcnt", CRIU_4, "as `opts.tcp_keepcnt`"),
    ("files.isk.tcp_opts.keepidle", CRIU_4, "as above"),
    ("files.isk.tcp_opts.keepintvl", CRIU_4, "as above"),
    ("files.usk.opts.so_mark", CRIU_3, "CRIU 3.17 writes it where it is 0, too"),
    ("files.nlsk.flags", CRIU_3, "CRIU 3.17 forgets them"),
    ("files.nlsk.ns_id", ALL, "as `isk.ns_id`"),
    ("files.nlsk.opts.so_mark", CRIU_3, "as `isk.opts.so_mark`"),
    ("files.psk.opts.so_mark", CRIU_3, "as above"),
    ("files.psk.opts.so_passcred", ALL, "as `isk.opts.so_passcred`"),
    ("files.psk.opts.so_passsec", ALL, "as above"),
    ("files.nlsk.state", ALL, "of what is not connected CRIU finds none where it is not bound"),
    ("files.usk.state", ALL, "a connection with a name is said to be closed, so that it gets it"),
    ("files.usk.deleted", ALL, "as above, where another socket is bound to the path"),
    ("files.tty.info.sid", ALL, "the master tells it; CRIU has it for the other end, too"),
    ("files.tty.info.pgrp", ALL, "as above"),
    ("files.tty.info.termios_locked", ALL, "is set with the other end, after what it locks"),
    ("pstree.has_terminal", ALL, "CRIU does not give it to others than the leader"),
    ("files.tty.data", ALL, "CRIU has what was processed, which is processed again"),
];

/// Images that are compared by what they mean: see `cgroups` and `cpu`.
const APART: [&str; 2] = ["cgroup.img", "cpuinfo.img"];

/// Clocks, what is left on timers and how often they fired: time goes by between
/// the two, and CRIU has the process use some of its own.
const MOVING: [&str; 6] = [".vsec", ".vusec", ".vnsec", ".overrun", ".tv_sec", ".tv_nsec"];

/// Dumps a process with CRIU, which leaves it as it was, and fetches the images.
/// CRIU tells of no cgroups where all are in its own.
/// CRIU 3.17 compares the size of a deleted file with its limit, holes too.
fn dumped_by_criu(guests: &Guests, job: &Job<'_>) -> Decoded {
    let images = format!("{}.criu", job.log);
    job.guest.sh(&format!(
        "echo $$ >/sys/fs/cgroup/cgroup.procs; mkdir {images} && criu dump -t {} -D {images} --leave-running --file-locks \
         --ghost-limit 8M -o dump.log \
         && tar -cf {images}.tar -C {images} . && rm -r {images}",
        job.pid
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

fn saved_by_ovmigrate(guests: &Guests, job: &Job<'_>) -> Decoded {
    guests.save(job.pid, &["--leave-running"]).stdout();
    let decoded = Decoded::read(guests.images().as_ref());
    std::fs::remove_dir_all(guests.images()).unwrap();
    decoded
}

/// `core-123.img[0].tc.rlimits[3]` as `core.img.tc.rlimits`.
fn kind(path: &str) -> String {
    let mut kind = String::new();
    let mut in_index = false;
    let (image, field) = path.split_once(".img").expect("a path begins with an image");
    kind.push_str(image.split('-').next().unwrap_or(image));
    for letter in field.chars() {
        match letter {
            '[' => in_index = true,
            ']' => in_index = false,
            letter if !in_index => kind.push(letter),
            _ => {}
        }
    }
    kind
}

/// Kinds of fields that differ, each with one example.
fn differing(ours: &Decoded, theirs: &Decoded) -> BTreeMap<String, String> {
    let paths: BTreeSet<&String> = ours.fields.keys().chain(theirs.fields.keys()).collect();
    let shown = |value: Option<&String>| value.map_or("absent", |value| value).to_owned();
    paths
        .into_iter()
        .map(|path| (path, ours.fields.get(path), theirs.fields.get(path)))
        .filter(|(path, ours, theirs)| {
            ours != theirs
                && !MOVING.iter().any(|field| path.ends_with(field))
                && !APART.iter().any(|image| path.starts_with(image))
        })
        .map(|(path, ours, theirs)| {
            (kind(path), format!("{path}: ovmigrate {}, criu {}", shown(ours), shown(theirs)))
        })
        .collect()
}

/// A number in an image, such as `U32(7)`.
fn number(value: &str) -> u64 {
    let digits = value.split_once('(').expect("a type and a number").1.trim_end_matches(')');
    digits.parse().expect("a number")
}

/// Areas whose pages may be lost at any time: CRIU 4.1 takes them for others.
fn droppable_areas(images: &Decoded) -> Vec<Range<u64>> {
    const MAP_DROPPABLE: u64 = 0x8;
    let flags = images.fields.iter().filter_map(|(path, value)| {
        let area = path.strip_suffix(".flags").filter(|area| area.contains(".vmas["))?;
        Some((area, number(value)))
    });
    let end = |area: &str, end: &str| number(&images.fields[&format!("{area}.{end}")]);
    flags
        .filter(|(_, flags)| flags & MAP_DROPPABLE != 0)
        .map(|(area, _)| end(area, "start")..end(area, "end"))
        .collect()
}

/// Pages that are not the same, but for those that one of both left out since
/// they are zero or may be lost, and the first one of the program's code: CRIU
/// has the process make its system calls there and so gives it a copy of its own.
fn differing_pages(ours: &Decoded, theirs: &Decoded, code: u64) -> Vec<String> {
    let zero = vec![0; 4096];
    let droppable = droppable_areas(ours);
    let addresses: BTreeSet<u64> = ours.pages.keys().chain(theirs.pages.keys()).copied().collect();
    addresses
        .into_iter()
        .filter(|at| ours.pages.get(at).unwrap_or(&zero) != theirs.pages.get(at).unwrap_or(&zero))
        .filter(|at| *at != code || ours.pages.contains_key(at))
        .filter(|at| !droppable.iter().any(|area| area.contains(at)))
        .map(|at| {
            let place = (ours.pages.contains_key(&at), theirs.pages.contains_key(&at));
            format!("{at:#x}: in (ovmigrate, criu): {place:?}")
        })
        .collect()
}

/// Blanks what the kernel writes into `struct rseq` when a thread moves to
/// another CPU: `cpu_id_start` and `cpu_id`, and since 6.3 `node_id` and `mm_cid`.
fn blank_cpu_numbers(images: &mut Decoded) {
    for (path, value) in &images.fields {
        if path.ends_with(".rseq_entry.rseq_abi_pointer") {
            let rseq = number(value);
            if let Some(page) = images.pages.get_mut(&(rseq & !0xfff)) {
                let at = (rseq & 0xfff) as usize;
                page[at..at + 8].fill(0);
                page[at + 20..at + 28].fill(0);
            }
        }
    }
}

/// Gives calls that are to go on with the time they have left the registers of
/// the `EINTR` that CRIU ends them with.
fn interrupt_calls_that_go_on(ours: &mut Decoded, theirs: &Decoded) {
    const EINTR: u64 = (-4_i64).cast_unsigned();
    /// `poll`, `nanosleep`, `futex`, `clock_nanosleep`
    const CALLS: [u64; 4] = [7, 35, 202, 230];
    for (path, ended) in theirs.fields.iter().filter(|(path, _)| path.ends_with(".gpregs.ax")) {
        let of = |images: &Decoded, name: &str| {
            let field = format!("{}{name}", path.strip_suffix("ax").expect("it is its end"));
            images.fields.get(&field).map_or(0, |value| number(value))
        };
        let made_again = CALLS.contains(&of(ours, "ax")) && of(ours, "ip") + 2 == of(theirs, "ip");
        if number(ended) == EINTR && made_again {
            for name in ["ax", "ip", "di", "si", "dx", "r10"] {
                let field = format!("{}{name}", path.strip_suffix("ax").expect("it is its end"));
                ours.fields.insert(field.clone(), theirs.fields[&field].clone());
            }
        }
    }
}

/// Drops `O_TMPFILE`, with which CRIU's own images have a file made anew instead
/// of the deleted one opened.
fn drop_tmpfile_flags(theirs: &mut Decoded) {
    const O_TMPFILE: u64 = 0o20_200_000;
    for (path, flags) in &mut theirs.fields {
        if path.ends_with(".reg.flags") && number(flags) & O_TMPFILE == O_TMPFILE {
            *flags = format!("U32({})", number(flags) & !O_TMPFILE);
        }
    }
}

/// Drops pending signals of which the kernel keeps the number alone: CRIU does
/// not find those in the queue, and loses them.
fn drop_signals_without_entry(ours: &mut Decoded) {
    let without_entry = |info: &str| info[8..].bytes().all(|digit| digit == b'0');
    ours.fields.retain(|path, info| !path.ends_with(".siginfo") || !without_entry(info));
}

/// Blanks in pending signals of timers what is not there yet: how often the
/// timer fired without a signal is told by the kernel when the signal is taken,
/// which goes by a number of its own behind the value.
fn blank_timer_counts(images: &mut Decoded) {
    const SI_TIMER: &str = "feffffff";
    for (path, info) in &mut images.fields {
        if path.ends_with(".siginfo") && &info[16..24] == SI_TIMER {
            info.replace_range(40..48, "--------");
            info.replace_range(64..72, "--------");
        }
    }
}

/// The first address of a process that is executable.
fn first_code(job: &Job<'_>) -> u64 {
    let line = job.guest.sh(&format!("grep -m 1 ' r-xp ' /proc/{}/maps", job.pid));
    u64::from_str_radix(line.split('-').next().unwrap(), 16).expect("an address")
}

#[test]
fn images_are_those_of_criu_but_for_what_is_intended() {
    let guests = guests();
    let script = guests.source.program("memory.py");
    let folder = "/var/tmp/ovmigrate-tests/differential";
    let kernel = TestKernel::chosen();
    let python = guests.source.spawn(&kernel.for_criu(&["python3", &script, folder, "8"]));
    let python = python.once_it_prints("ready");
    let threads = guests.source.start_for_criu("threads", &[], "round");
    // They would go on between the two, a call that is not restarted among them.
    let timers = guests.source.start_for_criu("timers", &[], "ready");
    let identity = guests.source.start_for_criu("identity", &["plain"], "ready");
    let pending = guests.source.start_for_criu("pending", &[], "ready");
    for running in [&threads, &timers, &identity, &pending] {
        running.kill("STOP");
        running.wait_for_states(&['T']);
    }
    // A file that was deleted on overlayfs CRIU does not dump.
    let jobs = [
        files::start(&guests, &["pipes"]),
        files::start(&guests, &["locks"]),
        files::start(&guests, &["paths"]),
        files::start(&guests, &["deleted"]),
        guests.source.start_for_criu("attributes", &[], "ready"),
        guests.source.start_for_criu("layout", &["/var/tmp/ovmigrate-tests/layout.file"], "ready"),
        guests.source.start_for_criu("sleepers", &["futex", "0"], "1 begin"),
        guests.source.start_for_criu("sleepers", &["nanosleep", "1000"], "1 begin"),
        guests.source.start_for_criu("sleepers", &["sigsuspend", "0"], "1 begin"),
        guests.source.start_for_criu("counter", &["1000000"], ""),
        guests.source.start_for_criu("aio", &[], "ready"),
        python,
        threads,
        timers,
        identity,
        pending,
    ];
    let mut all = BTreeMap::new();
    for job in jobs {
        let name = job.guest.sh(&format!("tr '\\0' ' ' </proc/{}/cmdline", job.pid));
        job.wait_for_states(&['S', 'T']);
        let mut ours = saved_by_ovmigrate(&guests, &job);
        let mut theirs = dumped_by_criu(&guests, &job);
        blank_cpu_numbers(&mut ours);
        blank_cpu_numbers(&mut theirs);
        interrupt_calls_that_go_on(&mut ours, &theirs);
        drop_signals_without_entry(&mut ours);
        drop_tmpfile_flags(&mut theirs);
        blank_timer_counts(&mut ours);
        blank_timer_counts(&mut theirs);
        assert!(ours.fields.len() > 300, "{name}: {} fields", ours.fields.len());
        for page in differing_pages(&ours, &theirs, first_code(&job)) {
            all.entry(format!("page of {name}")).or_insert(page);
        }
        for (kind, example) in differing(&ours, &theirs) {
            all.entry(kind).or_insert(format!("{name}: {example}"));
        }
    }
    let intended = INTENDED.iter().filter(|(_, on, _)| on.contains(&kernel.release));
    let same: Vec<_> = intended.filter(|(kind, ..)| all.remove(*kind).is_none()).collect();
    assert!(
        same.is_empty() && all.is_empty(),
        "the same in both, but intended to differ: {same:#?}\n\
         differences that are not intended: {all:#?}"
    );
}

/// A tree in one go: its processes are compared one by one, by PID. What a
/// single process has is compared above.
#[test]
fn images_of_a_tree_are_those_of_criu() {
    let guests = guests();
    let folder = "/var/tmp/ovmigrate-tests/differential.d";
    guests.source.sh(&format!("rm -rf {folder}"));
    let tree = guests.source.start_for_criu("tree", &[folder], "ready");
    let mut all = differing_in_tree(&guests, &tree, 18, 16);
    tree.end_all("tree");
    for kind in ["anonymous", "memfd", "files"] {
        let sharing = sharing::start(&guests, kind);
        all.extend(differing_in_tree(&guests, &sharing, 2, 2));
        sharing.end_all("shared");
    }
    let seccomp = guests.source.start_for_criu("seccomp", &[], "ready");
    all.extend(differing_in_tree(&guests, &seccomp, 3, 3));
    seccomp.end_all("seccomp");
    let confined = confinement::start(&guests);
    all.extend(differing_in_tree(&guests, &confined, 1, 1));
    confined.end_all("confined");
    let inet = guests.source.start_for_criu("inet", &["tcp", "udp"], "ready");
    all.extend(differing_in_tree(&guests, &inet, 1, 1));
    inet.end_all("inet");
    let raw = guests.source.start_for_criu("raw", &["netlink", "raw", "packet"], "ready");
    all.extend(differing_in_tree(&guests, &raw, 1, 1));
    raw.end_all("raw");
    // CRIU writes a socket once it has seen its peer.
    for (kinds, members) in [(&["data", "ends", "options", "flight"][..], 1), (&["kin"], 2)] {
        let pairs = guests.source.start_for_criu("pairs", kinds, "ready");
        all.extend(differing_in_tree(&guests, &pairs, members, members));
        pairs.end_all("pairs");
    }
    let kinds = ["listeners", "connections", "pending", "datagrams"];
    for (kinds, members) in [(&kinds[..], 1), (&["kin"], 2)] {
        let named = guests.source.start_for_criu("named", kinds, "ready");
        all.extend(differing_in_tree(&guests, &named, members, members));
        named.end_all("named");
    }
    let events =
        events::start(&guests, &["eventfd", "signalfd", "timerfd", "epoll", "inotify", "fanotify"]);
    all.extend(differing_in_tree(&guests, &events, 2, 2));
    events.end_all("events");
    for (kinds, members) in [(&["pairs", "session", "unread", "hung"][..], 6), (&["kin"], 4)] {
        let terminals = terminals::start(&guests, kinds);
        all.extend(differing_in_tree(&guests, &terminals, members, members));
        terminals.end_all("terminals");
    }
    if CRIU_4.contains(&TestKernel::chosen().release) {
        let pidfds = guests.source.start("pidfds", &[], "ready");
        all.extend(differing_in_tree(&guests, &pidfds, 3, 2));
        pidfds.end_all("pidfds");
    }
    let intended: Vec<_> = INTENDED.iter().chain(INTENDED_IN_TREES).collect();
    let is_part = |kind: &str, of: &str| {
        kind.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    all.retain(|kind, _| !intended.iter().any(|(intended, ..)| is_part(kind, intended)));
    assert!(all.is_empty(), "differences that are not intended: {all:#?}");
}

/// Kinds of fields and pages that differ in a tree of so many `members`, of
/// which so many are `living`.
fn differing_in_tree(
    guests: &Guests,
    job: &Job<'_>,
    members: usize,
    living: usize,
) -> BTreeMap<String, String> {
    let ours = by_process(&saved_by_ovmigrate(guests, job));
    let theirs = by_process(&dumped_by_criu(guests, job));
    assert_eq!(ours.len(), members);
    let pids = |images: &BTreeMap<u32, Decoded>| images.keys().copied().collect::<Vec<_>>();
    assert_eq!(pids(&ours), pids(&theirs));
    let (mut all, mut compared) = (BTreeMap::new(), 0);
    for (pid, mut ours) in ours {
        let mut theirs = theirs[&pid].clone();
        let member = Job { guest: job.guest, pid: pid.cast_signed(), log: job.log.clone() };
        blank_cpu_numbers(&mut ours);
        blank_cpu_numbers(&mut theirs);
        interrupt_calls_that_go_on(&mut ours, &theirs);
        // All but zombies.
        if !ours.pages.is_empty() {
            assert!(ours.fields.len() > 300, "{pid}: {} fields", ours.fields.len());
            compared += 1;
            for page in differing_pages(&ours, &theirs, first_code(&member)) {
                all.entry("page".to_owned()).or_insert(format!("{pid}: {page}"));
            }
        }
        for (kind, example) in differing(&ours, &theirs) {
            all.entry(kind).or_insert(format!("{pid}: {example}"));
        }
    }
    assert_eq!(compared, living);
    all
}
