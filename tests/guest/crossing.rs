//! From one kernel to another: a destination need not run the source's.

use crate::harness::{TestKernel, guests_of, wait_for};

/// The release that processes come from to a kernel under test.
fn origin(destination: &TestKernel) -> &'static TestKernel {
    TestKernel::named(match destination.release {
        "6.1" => "5.10",
        "6.12" => "6.1",
        "7.2" => "6.12",
        // The oldest takes from the next newer one.
        _ => "6.1",
    })
}

#[test]
fn a_process_moves_to_another_kernel() {
    let destination = TestKernel::chosen();
    let guests = guests_of(origin(destination), destination);
    let job = guests.start("threads", &[], "round");
    let restored = job.migrate(&guests, &[]);
    let before = restored.log().lines().count();
    wait_for("three more reports", || (restored.log().lines().count() > before + 3).then_some(()));
    assert!(!restored.log().contains("FAIL"), "{}", restored.log());
}

#[test]
fn what_the_destination_has_otherwise_is_named() {
    let destination = TestKernel::chosen();
    let guests = guests_of(origin(destination), destination);
    let script = "import signal\nprint('ready', flush=True)\nwhile True: signal.pause()";
    let job = guests.source.spawn(&["python3", "-c", script]).once_it_prints("ready");
    let program = guests.source.sh(&format!("readlink /proc/{}/exe", job.pid));
    let program = program.trim();
    let sum = format!("cksum <{program}");
    if guests.source.sh(&sum).as_bytes() == guests.destination.try_sh(&sum).stdout {
        // The same suite with another kernel.
        assert!(job.migrate(&guests, &[]).is_alive());
        return;
    }
    guests.save(job.pid, &["--leave-running"]).stdout();
    guests.copy(&[&job.log]);
    let message = guests.restore().failure();
    assert!(message.contains(program), "{program} is not in {message}");
    assert!(job.is_alive());
}
