//! What threads have registered with the kernel: restartable sequences, robust
//! futexes.

use std::path::Path;

use crate::decoded::Decoded;
use crate::harness::{guests, kept};

#[test]
fn a_thread_leaves_its_restartable_sequence_by_the_abort_handler() {
    let guests = guests();
    let job = guests.start("registered", &[], "ready");
    let log = job.log();
    let line = log.lines().find_map(|line| line.strip_prefix("sequence ")).expect("its place");
    let place: Vec<u64> =
        line.split(' ').map(|at| u64::from_str_radix(at, 16).expect("an address")).collect();
    guests.save(job.pid, &["--leave-running"]).stdout();
    let images = Decoded::read(Path::new(&guests.images()));
    std::fs::remove_dir_all(guests.images()).unwrap();
    let at: Vec<u64> = images
        .fields
        .iter()
        .filter(|(path, _)| path.ends_with(".thread_info.gpregs.ip"))
        .map(|(_, value)| value.trim_start_matches("U64(").trim_end_matches(')').parse().unwrap())
        .collect();
    assert!(at.contains(&place[2]), "no thread of {at:x?} is at the abort handler {place:x?}");
    assert!(!at.iter().any(|ip| (place[0]..place[1]).contains(ip)), "{at:x?} in {place:x?}");

    let said = job.migrate(&guests, &[]).ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&["restartable sequences, also when in a critical section", "robust futexes"]);
}
