//! What CRIU 3.17 would lose: it is kept where the destination's is later, and
//! refused where it is not.

use crate::harness::{guests, kept, refused};

/// A kind of `later.c`, what it is, and what an old CRIU is refused by.
const KINDS: [(&str, &str, &str); 3] = [
    ("membarrier", "registrations with membarrier", "membarrier_registration_mask"),
    ("memfd", "permissions of a memfd", "memfd_inode.mode"),
    ("stop", "a stop by another signal than SIGSTOP", "stop_signo"),
];

#[test]
fn what_criu_keeps_since_3_18_is_kept_or_refused() {
    let guests = guests();
    for (kind, state, field) in KINDS {
        let job = guests.start("later", &[kind], "ready");
        let message = guests.save(job.pid, &["--for-criu", "3.17"]).error();
        assert!(message.contains("CRIU 3.17 would lose") && message.contains(field), "{message}");
        if let Some(words) = guests.refused_by_old_criu(&job, field) {
            refused(state, &words);
            std::fs::remove_dir_all(guests.images()).unwrap();
            job.end_all("later");
            continue;
        }
        let restored = job.migrate(&guests, &[]);
        let said = restored.ask();
        assert!(said.ends_with("done, 0 failures\n"), "{said}");
        restored.end_all("later");
        std::fs::remove_dir_all(guests.images()).unwrap();
        kept(&[state]);
    }
}
