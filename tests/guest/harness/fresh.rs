//! A VM of a test's own.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Guest, KernelLog};

/// One at a time: each takes memory and a CPU while it boots.
static TURN: Mutex<()> = Mutex::new(());

/// A VM that is booted for a test and taken down with it.
#[derive(Debug)]
pub struct FreshVm {
    pub guest: Guest,
    is_dead: Cell<bool>,
    _turn: MutexGuard<'static, ()>,
}

impl FreshVm {
    /// Boots a VM of the kernel under test with these options of
    /// `qemu-scripts/vm up`. A test that uses the pair of
    /// [`guests`](super::guests) as well takes it afterwards: two that wait for
    /// each other would do so forever.
    pub fn boot(options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fresh-{}-{number}", std::process::id());
        Self { guest: Guest::boot(name.leak(), options), is_dead: Cell::default(), _turn: turn }
    }

    /// Kills its QEMU.
    pub fn kill(&self) {
        let pid = self.guest.info()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        kill(Pid::from_raw(pid.expect("vm info tells the PID")), Signal::SIGKILL).unwrap();
        self.is_dead.set(true);
    }
}

impl Drop for FreshVm {
    fn drop(&mut self) {
        let may_be_asked = !self.is_dead.get() && !std::thread::panicking();
        let complaints = may_be_asked.then(|| {
            let log = KernelLog::of(&self.guest);
            log.complaints().into_iter().map(str::to_owned).collect::<Vec<_>>()
        });
        self.guest.down();
        if let Some(complaints) = complaints {
            assert!(complaints.is_empty(), "the kernel complains: {complaints:#?}");
        }
    }
}
