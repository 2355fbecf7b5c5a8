//! A VM as the host sees it: its QEMU process and the sockets that lead to it.
//!
//! [`Domain::find`] turns what a user calls a VM into a connection to its QMP
//! monitor. Nothing in this room knows what runs in the guest.

mod agent;
mod claim;
mod command;
mod continuation;
mod error;
mod gdb;
mod handle;
mod interrupt;
mod keeper;
#[cfg_attr(not(feature = "libvirt"), path = "without_libvirt.rs")]
mod libvirt;
mod options;
mod pause;
mod process;
mod qmp;
mod ram;
mod readable;
mod registers;
mod socket;
mod vcpu;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use agent::{Agent, Output, Program, Status};
use claim::Claim;
pub use command::Command;
pub use error::{DomainError, Result};
pub use handle::ProcessHandle;
pub use interrupt::Interrupt;
use libvirt::{Called, LibvirtDomain, LibvirtMonitor};
use pause::PauseState;
pub use pause::{Pause, Pauses};
pub use process::QemuProcess;
pub use qmp::Qmp;
pub use ram::{BackingFile, RamBlock};
pub use registers::ControlRegisters;
pub use vcpu::Vcpu;

/// How long each QMP socket is given to greet, in the first round and in those
/// that follow while all are busy. QEMU's main loop answers within
/// microseconds unless the host is overloaded.
const GREETING_LIMITS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_millis(1500)];

/// A running VM with an open QMP monitor.
#[derive(Debug)]
pub struct Domain {
    name: String,
    process: QemuProcess,
    qmp: Mutex<Qmp>,
    /// Dropped, and the child in it ended, before the claim.
    pause: PauseState,
    claim: Mutex<Option<Arc<Claim>>>,
    /// Where it is one of libvirt's.
    libvirt: Option<LibvirtDomain>,
}

impl Domain {
    /// Finds a VM and connects to it: by the `-name` of its QEMU, `pid:PID`,
    /// `qmp:PATH`, or `libvirt:[URI#]NAME`. A QEMU that libvirt has started is
    /// reached through libvirt however it was found.
    ///
    /// # Errors
    ///
    /// One that says which VMs there are, which socket is busy or what is not
    /// permitted; see [`DomainError`].
    pub fn find(spec: &str) -> Result<Self> {
        if let Some(path) = spec.strip_prefix("qmp:") {
            return Self::at_socket(Path::new(path));
        }
        if let Some(rest) = spec.strip_prefix("libvirt:") {
            return Self::of_libvirt(rest);
        }
        let process = if let Some(pid) = spec.strip_prefix("pid:") {
            let pid = pid.parse().map_err(|_| DomainError::BadSpec(spec.to_owned()))?;
            QemuProcess::open(pid)?
        } else if spec.is_empty() {
            return Err(DomainError::BadSpec(spec.to_owned()));
        } else {
            find_named(spec, QemuProcess::all()?)?
        };
        match process.uuid() {
            Some(uuid) if process.is_libvirts() => {
                let (name, uris) = (process.display_name(), libvirt::uris(Some(&process)));
                Self::through_libvirt(&name, uris, Called::Uuid(&uuid))
            }
            _ => {
                let qmp = connect_any(&process)?;
                Ok(Self::new(process, qmp))
            }
        }
    }

    /// A domain by its name, behind the URI of a connection and `#` where the
    /// usual ones are not meant.
    fn of_libvirt(spec: &str) -> Result<Self> {
        let (uris, name) = match spec.split_once('#') {
            Some((uri, name)) => (vec![uri.to_owned()], name),
            None => (libvirt::uris(None), spec),
        };
        if name.is_empty() {
            return Err(DomainError::BadSpec(format!("libvirt:{spec}")));
        }
        Self::through_libvirt(name, uris, Called::Name(name))
    }

    fn through_libvirt(name: &str, uris: Vec<String>, called: Called<'_>) -> Result<Self> {
        let Some(domain) = LibvirtDomain::find(name, &uris, called)? else {
            return Err(DomainError::NoLibvirtDomain { name: name.to_owned(), uris });
        };
        let name = domain.name()?;
        if !domain.is_active()? {
            return Err(DomainError::NotRunning { domain: name, state: "shut off".into() });
        }
        let libvirt = Some(domain.clone());
        let (monitor, process) = LibvirtMonitor::of(domain)?;
        let (qmp, pause) = (Mutex::new(Qmp::through(monitor)), PauseState::default());
        Ok(Self { name, process, qmp, pause, claim: Mutex::default(), libvirt })
    }

    /// The VM whose QEMU listens on a QMP socket.
    fn at_socket(path: &Path) -> Result<Self> {
        let qmp = connect_patiently(&path.display().to_string(), &[path.to_owned()])?;
        let peer =
            qmp.peer().map_err(|e| DomainError::io(format!("{}: no peer", path.display()), e))?;
        let process = QemuProcess::open(peer)?;
        Ok(Self::new(process, qmp))
    }

    fn new(process: QemuProcess, qmp: Qmp) -> Self {
        let name = process.display_name();
        let (qmp, pause) = (Mutex::new(qmp), PauseState::default());
        Self { name, process, qmp, pause, claim: Mutex::default(), libvirt: None }
    }

    /// The VM's name, or `pid:PID` where it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The QEMU process.
    pub fn process(&self) -> &QemuProcess {
        &self.process
    }

    /// The QMP monitor, for this thread until the guard is dropped.
    pub fn qmp(&self) -> MutexGuard<'_, Qmp> {
        // A panic between a command and its answer leaves a stale answer, not
        // an unsound state; the next command then fails by its type.
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails unless the VM's vCPUs run, or will as soon as another `ovmigrate`
    /// is done with a pause.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotRunning`] with the state QEMU reports.
    pub fn require_running(&self) -> Result<()> {
        if self.qmp().is_known_to_run() {
            return Ok(());
        }
        // The kernel takes milliseconds to tell who holds a lock.
        if self.qmp().run_state()? == "running" {
            return Ok(());
        }
        let deadline = Instant::now() + claim::PATIENCE;
        loop {
            let held_before = self.is_claimed_by_another();
            let state = self.qmp().run_state()?;
            if state == "running" {
                return Ok(());
            }
            // A pause that another `ovmigrate` makes is over soon.
            let held = || held_before || self.is_claimed_by_another();
            if state != "paused" || Instant::now() > deadline || !held() {
                return Err(DomainError::NotRunning { domain: self.name.clone(), state });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Makes sure that no other `ovmigrate` changes the VM while this lives. A
    /// [`pause`](Self::pause) does it, too; here it is done before anything is
    /// looked at that the other may be changing.
    ///
    /// # Errors
    ///
    /// [`DomainError::InUse`] where another changes it, and for longer than
    /// some seconds.
    pub fn claim(&self) -> Result<()> {
        let claim = self.claimed()?;
        // What claims is about to pause.
        self.pause.prepare(self.qmp().continuation(), claim.as_fd())
    }

    fn is_claimed_by_another(&self) -> bool {
        let ours = self.claim.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        !ours && claim::is_held(&self.process)
    }

    fn claimed(&self) -> Result<Arc<Claim>> {
        let mut slot = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = match slot.take() {
            Some(claim) => claim,
            None => Arc::new(Claim::take(&self.name, &self.process)?),
        };
        Ok(slot.insert(claim).clone())
    }

    /// Fails unless this is an x86-64 machine whose memory is not encrypted, and
    /// which runs.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotX86`], [`DomainError::Encrypted`], each by what QEMU
    /// tells of the machine; as [`require_running`](Self::require_running).
    pub fn require_readable(&self) -> Result<()> {
        let runs = readable::require_readable(&mut self.qmp(), &self.name)?;
        if runs { Ok(()) } else { self.require_running() }
    }

    /// All RAM of the guest, ascending.
    ///
    /// # Errors
    ///
    /// [`DomainError::Permission`] where the QEMU process belongs to another
    /// user; [`DomainError::Protocol`] where QEMU's answers do not fit.
    pub fn ram_blocks(&self) -> Result<Vec<RamBlock>> {
        ram::ram_blocks(&mut self.qmp(), self.process.pid())
    }

    /// The control registers of some vCPUs, those with the lowest indices.
    ///
    /// # Errors
    ///
    /// Where the monitor does not answer.
    pub fn control_registers(&self) -> Result<Vec<ControlRegisters>> {
        registers::control_registers(&mut self.qmp())
    }

    /// The VM's virtual CPUs in order of index.
    ///
    /// # Errors
    ///
    /// What QEMU says.
    pub fn vcpus(&self) -> Result<Vec<Vcpu>> {
        vcpu::vcpus(&mut self.qmp())
    }
}

fn find_named(name: &str, running: Vec<QemuProcess>) -> Result<QemuProcess> {
    let found: Vec<String> = running.iter().map(QemuProcess::display_name).collect();
    let mut named: Vec<QemuProcess> =
        running.into_iter().filter(|process| process.name().as_deref() == Some(name)).collect();
    match (named.pop(), named.as_slice()) {
        (None, _) => Err(DomainError::NotFound { name: name.to_owned(), found }),
        (Some(only), []) => Ok(only),
        (Some(last), others) => {
            let pids = others.iter().chain([&last]).map(QemuProcess::pid).collect();
            Err(DomainError::Ambiguous { name: name.to_owned(), pids })
        }
    }
}

fn connect_any(process: &QemuProcess) -> Result<Qmp> {
    let sockets = process.monitors();
    if sockets.is_empty() {
        return Err(DomainError::NoMonitor(process.display_name()));
    }
    connect_patiently(&process.display_name(), &sockets)
}

/// Tries the sockets in turn, in rounds of growing patience: one that does not
/// greet serves another client, who may leave.
fn connect_patiently(domain: &str, sockets: &[PathBuf]) -> Result<Qmp> {
    for limit in GREETING_LIMITS {
        let (mut busy, mut failure) = (false, None);
        for path in sockets {
            match Qmp::connect(path, limit) {
                Ok(qmp) => return Ok(qmp),
                Err(DomainError::TimedOut { .. }) => busy = true,
                Err(e) => failure = Some(e),
            }
        }
        if let (false, Some(e)) = (busy, failure) {
            return Err(e);
        }
    }
    Err(DomainError::MonitorBusy { domain: domain.to_owned(), paths: sockets.to_vec() })
}
