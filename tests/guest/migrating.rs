//! From one VM to the other: saved from outside, restored by the guest's CRIU,
//! going on where it stopped.

use crate::harness::{Guest, Job, TestKernel, guests, kept, ovmigrate, unknown, wait_for, works};

#[test]
fn a_counter_goes_on_where_it_stopped() {
    let guests = guests();
    let job = guests.start("counter", &["200"], "3\n");
    let restored = job.migrate(&guests, &[]);
    let before = job.log();
    wait_for("it counts on", || {
        (restored.log().lines().count() > before.lines().count() + 5).then_some(())
    });
    let counted: Vec<usize> = restored.log().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(counted, (1..=counted.len()).collect::<Vec<_>>(), "a tick is lost or came twice");
    works(&["save", "restore"]);
    kept(&["interval timers"]);
}

#[test]
fn eight_threads_keep_all_their_registers() {
    let guests = guests();
    let job = guests.start("threads", &[], "round");
    let restored = job.migrate(&guests, &[]);
    let before = restored.log().lines().count();
    wait_for("three more reports", || (restored.log().lines().count() > before + 3).then_some(()));
    assert!(!restored.log().contains("FAIL"), "{}", restored.log());
    assert_eq!(restored.states().len(), 8);
    kept(&["threads", "vector registers, thread-local storage, segment bases"]);
}

#[test]
fn memory_files_and_mappings_of_a_python_program_are_whole() {
    let guests = guests();
    let script = guests.source.program("memory.py");
    guests.destination.program("memory.py");
    let folder = "/var/tmp/ovmigrate-tests/memory";
    let job = guests.source.spawn(&["python3", &script, folder, "256"]);
    wait_for("memory.py is ready", || job.log().contains("ready").then_some(()));
    let files =
        ["file0", "file1", "file2", "file3", "mapped"].map(|name| format!("{folder}/{name}"));
    let restored = job.migrate(&guests, &files.each_ref().map(String::as_str));
    let said = restored.ask();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["ok memory", "ok files", "ok mapping", "done"]);
    kept(&["regular files, with offset and flags", "private file mappings, changed pages too"]);
}

#[test]
fn every_kind_of_mapping_is_as_it_was() {
    let guests = guests();
    let file = "/var/tmp/ovmigrate-tests/layout.file";
    let job = guests.start("layout", &[file], "ready");
    let huge =
        guests.source.sh(&format!("grep -c 'AnonHugePages: *[1-9]' /proc/{}/smaps", job.pid));
    assert_eq!(huge.trim(), "1", "the program was to have huge pages");
    let has_guards = TestKernel::chosen().release == "7.2";
    assert_eq!(job.log().contains("with guard pages"), has_guards);
    let restored = job.migrate(&guests, &[file]);
    let said = restored.ask();
    assert!(said.contains("done, 0 failures"), "{said}");
    kept(&[
        "memory that is PROT_NONE, read-only, never touched or sparse",
        "heap and memory that grows down",
        "transparent huge pages",
        "locked memory (mlock), and advice of each kind (madvise)",
    ]);
    let note = if has_guards { kept } else { unknown };
    note(&["guard pages"]);
}

#[test]
fn attributes_of_a_process_are_as_they_were() {
    let guests = guests();
    let job = guests.start("attributes", &[], "ready");
    let before = job.ask();
    let restored = job.migrate(&guests, &[]);
    let after = restored.ask();
    for (before, after) in before.lines().zip(after.lines()) {
        assert_eq!(before, after);
    }
    assert_eq!(before.lines().count(), after.lines().count());
}

/// What a program says at SIGUSR1, before it is moved and afterwards.
fn said_before_and_after(program: &str, args: &[&str]) -> [Vec<String>; 2] {
    let guests = guests();
    let job = guests.start(program, args, "ready");
    let said = |text: String| {
        let end =
            text.lines().position(|line| line.starts_with("done")).expect("it was waited for");
        text.lines().take(end + 1).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = said(job.ask());
    wait_for("it begins anew", || {
        let log = job.log();
        log.rfind("ready").is_some_and(|ready| ready > log.rfind("done").unwrap_or(0)).then_some(())
    });
    let after = said(job.migrate(&guests, &[]).ask());
    [before, after]
}

#[test]
fn pending_signals_are_taken_with_all_they_tell_and_in_order() {
    let [before, after] = said_before_and_after("pending", &[]);
    assert_eq!(before, after);
    let of = |who: &str| before.iter().filter(|line| line.starts_with(who)).count();
    assert_eq!((of("process: "), of("other: ")), (12, 5), "{before:#?}");
    assert_eq!(before.last().map(String::as_str), Some("done, on the stack 0"));
    kept(&["pending signals of process and threads", "an alternate stack in use"]);
}

#[test]
fn timers_of_every_kind_do_what_they_are_for() {
    let guests = guests();
    let job = guests.start("timers", &[], "ready");
    let before = job.ask();
    assert!(!before.contains("FAIL") && !before.contains("WRONG"), "{before}");
    let restored = job.migrate(&guests, &[]);
    let after = restored.ask();
    for (before, after) in before.lines().zip(after.lines()) {
        assert_eq!(before, after);
    }
    assert_eq!(before.lines().count(), after.lines().count());
    for line in ["fired once 1", "fired often, the overruns too 1", "to a wrong thread 0"] {
        assert!(after.lines().any(|said| said == line), "{line} is missing: {after}");
    }
    assert!(after.contains("CPU clocks: second 1 main 0 process 1"), "{after}");
    kept(&["POSIX timers of every clock", "POSIX timers with a pending signal and overruns"]);
}

/// Its clocks go on: those of its time namespace, which what was restored has, too.
#[test]
fn a_process_that_was_moved_is_moved_on() {
    const AHEAD: u64 = 100_000;
    let guests = guests();
    // A time namespace is for children, and CLONE_NEWTIME is 0x80.
    let script = format!(
        "import ctypes, os, time\n\
         assert ctypes.CDLL(None).unshare(0x80) == 0\n\
         open('/proc/self/timens_offsets', 'w').write('monotonic {AHEAD} 0')\n\
         if os.fork(): os._exit(0)\n\
         os.setsid()\n\
         print(os.getpid(), flush=True)\n\
         while True: time.sleep(0.2); print(time.monotonic_ns(), flush=True)"
    );
    let parent = guests.source.spawn(&["python3", "-c", &script]).once_it_prints("\n");
    let pid = parent.log().lines().next().expect("a line").parse().expect("a PID");
    guests.source.adopt(pid);
    let job = Job { guest: &guests.source, pid, log: parent.log.clone() };
    let moved = job.migrate(&guests, &[]);
    moved.wait_for_output();
    let (pid, images) = (job.pid.to_string(), guests.folder.join("again"));
    let images = images.to_str().expect("a path of ours");
    let at = |guest: &Guest| ["--domain", guest.name, "--images-dir", images].map(str::to_owned);
    let save = ["save".into(), "--pid".into(), pid].into_iter().chain(at(&guests.destination));
    ovmigrate(save).stdout();
    guests.copy_between(&guests.destination, &guests.source, &[&job.log]);
    ovmigrate(["restore".to_owned()].into_iter().chain(at(&guests.source))).stdout();
    job.wait_for_output();
    let log = job.log();
    let times: Vec<u64> = log.lines().skip(1).map(|line| line.parse().unwrap()).collect();
    assert!(times.is_sorted(), "its clock has gone back: {times:?}");
    let seconds = times.last().expect("a time") / 1_000_000_000;
    assert!((AHEAD..2 * AHEAD).contains(&seconds), "its clock was set to {seconds} s");
    kept(&["a process that was restored before, in a time namespace of its own"]);
}

#[test]
fn a_stopped_process_is_restored_stopped() {
    let guests = guests();
    let job = guests.start("counter", &["200"], "3\n");
    job.kill("STOP");
    job.wait_for_states(&['T']);
    let restored = job.migrate(&guests, &[]);
    restored.wait_for_states(&['T']);
    restored.kill("CONT");
    restored.wait_for_output();
    kept(&["a group stop"]);
}

#[test]
fn a_process_frozen_by_a_signal_goes_on() {
    let guests = guests();
    let job = guests.start("threads", &[], "round");
    guests.save(job.pid, &["--freeze", "signal"]).stdout();
    assert!(!job.is_alive());
    guests.copy(&[&job.log]);
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    let restored = crate::harness::Job { guest: &guests.destination, pid: job.pid, log: job.log };
    restored.wait_for_output();
    assert!(!restored.log().contains("FAIL"), "{}", restored.log());
}

#[test]
fn a_save_can_leave_the_process_running_or_frozen() {
    let guests = guests();
    let job = guests.start("counter", &["200"], "1\n");
    let report = guests.save(job.pid, &["--leave-running", "--json"]).json();
    assert_eq!(report["pid"], job.pid);
    job.wait_for_output();
    std::fs::remove_dir_all(guests.images()).unwrap();

    let said = guests.save(job.pid, &["--leave-stopped"]).stdout();
    let pid = job.pid.to_string();
    let thaw = ["thaw", "--domain", guests.source.name, "--pid", &pid];
    assert!(said.contains(&format!("ovmigrate {}", thaw.join(" "))), "{said}");
    let log = job.log();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(job.log(), log, "it ran on");
    ovmigrate(thaw).stdout();
    job.wait_for_output();
}
