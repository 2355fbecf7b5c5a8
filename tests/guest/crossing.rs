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
