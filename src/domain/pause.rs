//! Pausing the VM for a moment, so that it goes on whatever becomes of us.
//!
//! [`Domain::pause`] stops the vCPUs through its monitor; [`Pause::resume`] (or
//! dropping the guard) continues them. If this process dies in between, even
//! by SIGKILL, a [`Keeper`] continues the VM.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_with::{DurationSecondsWithFrac, serde_as};

use super::Domain;
use super::continuation::Continuation;
use super::error::{DomainError, Result};
use super::gdb::Stub;
use super::keeper::{Keeper, Order};
use super::qmp::Qmp;

/// How often and how long a VM stood still for us: each time at most from before
/// `stop` was sent until `cont` was answered. Times are serialised in seconds.
#[serde_as]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// How often.
    pub count: u32,
    /// How long in all.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub total: Duration,
    /// The longest time.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub longest: Duration,
}

/// What a pause needs that lasts as long as the attachment.
#[derive(Debug, Default)]
pub(super) struct PauseState {
    /// Set while a [`Pause`] lives.
    paused: AtomicBool,
    /// Started by the first pause.
    keeper: Mutex<Option<Keeper>>,
    /// Those that are over.
    times: Mutex<Pauses>,
}

impl PauseState {
    fn times(&self) -> MutexGuard<'_, Pauses> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a pause that is over.
    fn note(&self, time: Duration) {
        let mut times = self.times();
        times.count += 1;
        times.total += time;
        times.longest = times.longest.max(time);
    }

    /// Starts the keeper where there is none. It gets ready while other things
    /// are done.
    pub(super) fn prepare(
        &self,
        continuation: Continuation<'_>,
        claim: BorrowedFd<'_>,
    ) -> Result<()> {
        let mut slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(Keeper::start(continuation, claim)?);
        }
        Ok(())
    }

    /// Tells the keeper how the VM is to be stopped by us.
    fn arm(
        &self,
        continuation: Continuation<'_>,
        claim: BorrowedFd<'_>,
        order: Order,
    ) -> Result<()> {
        let mut slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keeper = match slot.take() {
            Some(keeper) => keeper,
            None => Keeper::start(continuation, claim)?,
        };
        keeper.await_ready()?;
        keeper
            .tell(order)
            .map_err(|e| DomainError::io("the child that continues the VM has died", e))?;
        *slot = Some(keeper);
        Ok(())
    }

    /// Stops the VM. Of a libvirt domain the keeper has done so.
    fn stop(&self, qmp: &mut Qmp) -> Result<()> {
        let slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.as_ref().filter(|keeper| keeper.acts()) {
            Some(keeper) => keeper.answer(),
            None => qmp.execute("stop", json!({})).map(drop),
        }
    }

    /// Tells the keeper, before it is so, that our gdb stub is open.
    pub(super) fn stub_opens(&self) -> Result<()> {
        let slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keeper) = slot.as_ref() else { return Ok(()) };
        let told = keeper.tell(Order::StubOpens);
        told.map_err(|e| DomainError::io("the child that continues the VM has died", e))?;
        if keeper.acts() { keeper.answer() } else { Ok(()) }
    }

    /// Continues the VM and tells the keeper that it runs again. One that has
    /// died since does no harm; the next pause starts another.
    fn cont(&self, qmp: &mut Qmp) -> Result<()> {
        let mut slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let acting = slot.as_ref().filter(|keeper| keeper.acts());
        if acting.is_some_and(|keeper| keeper.tell(Order::Runs).is_ok() && keeper.answer().is_ok())
        {
            return Ok(());
        }
        qmp.cont()?;
        slot.take_if(|keeper| keeper.acts() || keeper.tell(Order::Runs).is_err());
        Ok(())
    }
}

/// A VM whose vCPUs stand still because we stopped them.
#[derive(Debug)]
#[must_use = "the VM continues when this is dropped"]
pub struct Pause<'a> {
    domain: &'a Domain,
    since: Instant,
    resumed: bool,
    /// For raising interrupts; closed once the VM runs again.
    pub(super) stub: Option<Stub>,
}

impl Domain {
    /// Stops the VM's vCPUs.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotRunning`] where they do not run: a VM that its
    /// operator has paused must stay so, and two pauses at a time do not nest.
    /// [`DomainError::InUse`] where another `ovmigrate` changes the VM.
    pub fn pause(&self) -> Result<Pause<'_>> {
        self.pause_with(|_| Ok(None))
    }

    /// Stops the vCPUs, where that may be so by opening the gdb stub that is
    /// prepared before.
    pub(super) fn pause_with(
        &self,
        prepare: impl FnOnce(&mut Qmp) -> Result<Option<Stub>>,
    ) -> Result<Pause<'_>> {
        let claim = self.claimed()?;
        if self.pause.paused.swap(true, Ordering::AcqRel) {
            let (domain, state) = (self.name.clone(), "paused".into());
            return Err(DomainError::NotRunning { domain, state });
        }
        // The monitor is free again behind this.
        let prepared = prepare(&mut self.qmp());
        let stopped = prepared.and_then(|stub| self.stop(claim.as_fd(), stub));
        stopped.inspect_err(|_| self.pause.paused.store(false, Ordering::Release))
    }

    /// The pauses since this was last asked.
    pub fn take_pauses(&self) -> Pauses {
        mem::take(&mut self.pause.times())
    }

    fn stop(&self, claim: BorrowedFd<'_>, stub: Option<Stub>) -> Result<Pause<'_>> {
        let by_stub = stub.is_some() && self.qmp().is_ours();
        let order = if by_stub { Order::StubOpens } else { Order::Paused };
        let ready = self.require_running();
        let ready = ready.and_then(|()| self.pause.arm(self.qmp().continuation(), claim, order));
        if let Err(error) = ready {
            return match stub.map(|stub| stub.close(&mut self.qmp())) {
                Some(Err(closing)) => Err(closing),
                _ => Err(error),
            };
        }
        let mut pause = Pause { domain: self, since: Instant::now(), resumed: false, stub };
        // From here on the guard continues the VM, also where stopping it has
        // failed half-way.
        let qmp = &mut self.qmp();
        match pause.stub.as_mut().filter(|_| by_stub) {
            Some(stub) => stub.open(qmp)?,
            None => self.pause.stop(qmp)?,
        }
        Ok(pause)
    }
}

impl<'a> Pause<'a> {
    /// The VM.
    pub fn domain(&self) -> &'a Domain {
        self.domain
    }

    /// Continues the VM.
    ///
    /// # Errors
    ///
    /// What QEMU says; the VM may then still be paused.
    pub fn resume(mut self) -> Result<()> {
        self.cont()
    }

    fn cont(&mut self) -> Result<()> {
        let state = &self.domain.pause;
        // What a stub reads once the VM runs would stop it again.
        let behind = self.stub.take_if(|stub| stub.behind);
        let closed = behind.map(|stub| stub.close(&mut self.domain.qmp()));
        state.cont(&mut self.domain.qmp())?;
        state.note(self.since.elapsed());
        self.resumed = true;
        state.paused.store(false, Ordering::Release);
        if let Some(stub) = self.stub.take() {
            stub.close(&mut self.domain.qmp())?;
        }
        closed.transpose().map(drop)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if !self.resumed
            && let Err(e) = self.cont()
        {
            tracing::error!("VM {} may still be paused: {e}", self.domain.name);
        }
    }
}
