//! Load that a guest is under.

use super::{Guest, Job};

/// Memory that is mapped, written and given back, pipes, wake-ups: on both CPUs
/// of the guest. Nothing that forks all the time, for that uses up the PIDs that
/// the other VM leaves to this one.
const LOAD: &str = "exec nice -n 10 stress-ng --quiet --vm 1 --vm-bytes 48M --pipe 1 \
                    --futex 1 --timeout 3600";

/// What loads a guest until it is [ended](Load::end).
#[derive(Debug)]
pub struct Load<'a>(Job<'a>);

impl Guest {
    /// Has it be under load.
    pub fn load(&self) -> Load<'_> {
        Load(self.spawn(&["sh", "-c", LOAD]))
    }
}

impl Load<'_> {
    /// Ends it, which it must not have done by itself.
    #[track_caller]
    pub fn end(self) {
        let Self(job) = self;
        assert!(job.is_alive(), "the load has ended: {}", job.log());
        job.kill("TERM");
        job.wait_for_end();
    }
}
