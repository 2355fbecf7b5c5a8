//! Single processes, of which the images are compared as they are.

use super::compare::{Differences, In};
use super::intended::{ALL, BEFORE_4_2, CRIU_3, CRIU_4, EVERYWHERE, Intended, assert_intended};
use super::{differing_in, dumped_by_criu, saved_by_ovmigrate};
use crate::files;
use crate::harness::{Guests, Job, TestKernel, guests, wait_for};

/// Of the image that tells of the others.
const INVENTORY: &[Intended] = &[
    ("inventory.dump_criu_run_id", In::Theirs, CRIU_4, "a restore that is told none asks for none"),
    ("inventory.lsmtype", In::Theirs, ALL, "where no thread has a label nobody asks for it"),
    ("inventory.network_lock_method", In::Both, ALL, "there are no connections to lock: skip"),
];

const INTENDED: &[Intended] = &[
    ("core.tc.stop_signo", In::Ours, CRIU_3, "came with CRIU 3.18"),
    (
        "core.tc.timers.posix.clock_id",
        In::Both,
        ALL,
        "CRIU takes each thread's CPU clock for the leader's",
    ),
    (
        "core.tc.timers.posix.insec",
        In::Both,
        CRIU_3,
        "CRIU arms a CPU timer that is off but has an interval",
    ),
    ("core.tc.timers.posix.isec", In::Both, CRIU_3, "as above; newer kernels forget the interval"),
    (
        "core.tc.timers.prof.isec",
        In::Both,
        ALL,
        "CRIU disarms a timer that fires once; see `criu::core`",
    ),
    ("core.thread_core.creds.no_new_privs", In::Ours, CRIU_3, "came with a later CRIU than 3.17"),
    (
        "core.thread_info.gpregs.orig_ax",
        In::Both,
        ALL,
        "a sleep that is thawed goes on as restart_syscall(2)",
    ),
    ("mm.vmas.fdflags", In::Both, ALL, "a private mapping needs its file for reading only"),
    ("mm.vmas.fdflags", In::Theirs, ALL, "the kernel makes the ring of AIO, not a file"),
    ("mm.vmas.flags", In::Both, &["6.12"], "CRIU 4.1 makes private memory of droppable"),
    ("mm.vmas.madv", In::Ours, BEFORE_4_2, "CRIU loses MADV_WIPEONFORK before 4.2"),
    ("mm.vmas.madv", In::Both, &["6.12"], "as above, beside other advice"),
];

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
    let identity = guests.source.start_for_criu("identity", &["all"], "ready");
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
    let mut all = Differences::new();
    for job in jobs {
        let name = job.guest.sh(&format!("tr '\\0' ' ' </proc/{}/cmdline", job.pid));
        job.wait_for_states(&['S', 'T']);
        all.extend(differing_in_process(&guests, &job, &name));
    }
    assert_intended(&all, &[EVERYWHERE, INVENTORY, INTENDED]);
}

fn differing_in_process(guests: &Guests, job: &Job<'_>, name: &str) -> Differences {
    let mut ours = saved_by_ovmigrate(guests, job, &[]);
    let mut theirs = dumped_by_criu(guests, job, &[]);
    differing_in(job, (job.pid.cast_unsigned(), name), &mut ours, &mut theirs)
}

const IN_TIME_NAMESPACE: &[Intended] = &[(
    "ids.time_ns_id",
    In::Both,
    ALL,
    "a restore makes one for clocks of the initial one, too, as what is saved has them",
)];

#[test]
fn images_of_a_process_in_a_time_namespace_are_those_of_criu() {
    let guests = guests();
    let program = guests.source.program("counter");
    let offsets = ["--time", "--monotonic", "1000", "--boottime", "2000"];
    let command = [&["unshare"], &offsets[..], &["--fork", "setsid", &program, "1000000"]].concat();
    let around = guests.source.spawn(&TestKernel::chosen().for_criu(&command));
    let pid = wait_for("the program runs", || {
        let found = guests.source.try_sh(&format!("pgrep -P {} -x counter", around.pid));
        String::from_utf8_lossy(&found.stdout).trim().parse().ok()
    });
    guests.source.adopt(pid);
    let job = Job { guest: &guests.source, pid, log: around.log };
    job.wait_for_states(&['S']);
    let all = differing_in_process(&guests, &job, "in a time namespace");
    assert_intended(&all, &[EVERYWHERE, INVENTORY, IN_TIME_NAMESPACE]);
}
