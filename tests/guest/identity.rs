//! Who a process is and what it may do; and what older versions of CRIU would
//! lose of that.

use crate::harness::{guests, kept, refused, wait_for};

/// The guest's CRIU is one that knows all fields.
fn knows_all(version: &str) -> bool {
    let major = version.split('.').next().and_then(|number| number.parse::<u32>().ok());
    major.expect("criu --version begins with a number") >= 4
}

#[test]
fn identity_and_limits_of_each_thread_are_as_they_were() {
    let guests = guests();
    let job = guests.start("identity", &["plain"], "ready");
    let before = job.ask();
    assert!(!before.contains("FAIL"), "{before}");
    let after = job.migrate(&guests, &[]).ask();
    assert_eq!(before.lines().collect::<Vec<_>>(), after.lines().collect::<Vec<_>>());
    kept(&[
        "users, groups, capabilities and securebits of each thread",
        "scheduling policies, nice and names of threads",
        "resource limits",
        "dumpable",
    ]);
}

#[test]
fn what_an_older_criu_would_lose_is_refused_by_name() {
    let guests = guests();
    let job = guests.start("identity", &["all"], "ready");
    let before = job.ask();
    let message = guests.save(job.pid, &["--for-criu", "3.17.1"]).error();
    let foreseen = guests.save(job.pid, &["--for-criu", "3.17.1", "--dry-run"]);
    assert_eq!(foreseen.status.code(), Some(1), "{}", foreseen.stderr);
    for field in ["no_new_privs", "cap_amb"] {
        assert!(message.contains(field), "{field} is not in {message}");
        assert!(foreseen.stdout.contains(field), "{field} is not in {}", foreseen.stdout);
    }
    assert!(!std::path::Path::new(&guests.images()).exists(), "images are left");
    assert_eq!(job.ask(), before, "it runs on");

    let version = guests.criu_version();
    let version = version.as_str();
    if knows_all(version) {
        guests.save(job.pid, &["--for-criu", version]).stdout();
    } else {
        let message = guests.save(job.pid, &["--for-criu", version]).error();
        assert!(message.contains("no_new_privs"), "{message}");
        guests.save(job.pid, &[]).stdout();
    }
    guests.copy(&[&job.log]);
    if !knows_all(version) {
        let message = guests.restore().error();
        assert!(message.contains("no_new_privs") && message.contains(version), "{message}");
        refused("no_new_privs and ambient capabilities", &format!("CRIU {version} would lose"));
        return;
    }
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    let restored = crate::harness::Job { guest: &guests.destination, pid: job.pid, log: job.log };
    wait_for("it answers", || restored.is_alive().then_some(()));
    assert_eq!(restored.ask(), before);
    kept(&["no_new_privs and ambient capabilities"]);
}
