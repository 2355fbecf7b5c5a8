//! Why a VM cannot be reached or does not do what it is asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong between the host and one VM. Every message is one line.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The `--domain` argument has no known form.
    #[error(
        "bad domain {0:?}: expected the name of a running QEMU or of a libvirt domain, libvirt:NAME, qmp:PATH or pid:PID"
    )]
    BadSpec(String),
    /// No running QEMU has this `-name`.
    #[error("no running VM is named {name:?}; {}", describe_found(.found))]
    NotFound {
        /// What was asked for.
        name: String,
        /// The names of the VMs that do run here.
        found: Vec<String>,
    },
    /// More than one running QEMU has this `-name`.
    #[error("{} VMs are named {name:?}; choose one of {}", .pids.len(), list(.pids.iter().map(|pid| format!("pid:{pid}"))))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The PIDs of the QEMU processes.
        pids: Vec<i32>,
    },
    /// The PID belongs to another program or to none.
    #[error("process {0} is not a running QEMU")]
    NotQemu(i32),
    /// QEMU was started without a QMP socket that can be reached by path.
    #[error("VM {0} has no QMP socket; start QEMU with -qmp unix:PATH,server=on,wait=off")]
    NoMonitor(String),
    /// The machine is of another architecture.
    #[error("VM {domain} is an {arch} machine: ovmigrate reads x86-64 guests only")]
    NotX86 {
        /// The VM.
        domain: String,
        /// QEMU's `SysEmuTarget`, for example `aarch64`.
        arch: String,
    },
    /// The host cannot read the guest's memory.
    #[error("VM {domain}: its memory is encrypted by {how}; nothing can be read from outside")]
    Encrypted {
        /// The VM.
        domain: String,
        /// What encrypts it.
        how: String,
    },
    /// libvirt cannot be reached or does not do what it is asked.
    #[error("libvirt ({uri}): {reason}")]
    Libvirt {
        /// The connection.
        uri: String,
        /// What libvirt says.
        reason: String,
    },
    /// No libvirt that was asked has the domain.
    #[error("libvirt has no domain {name:?} ({}); name another connection with --connect", list(.uris.iter()))]
    NoLibvirtDomain {
        /// What was asked for.
        name: String,
        /// The connections that were tried.
        uris: Vec<String>,
    },
    /// This build cannot talk to libvirt.
    #[error(
        "VM {0} is libvirt's, and this ovmigrate was built without libvirt; build it with --features libvirt"
    )]
    WithoutLibvirt(String),
    /// libvirt's library cannot be loaded.
    #[error(
        "VM {domain} is libvirt's, whose library cannot be loaded: {reason}; install libvirt's \
         client libraries (libvirt0, libvirt-libs)"
    )]
    NoLibvirt {
        /// The VM.
        domain: String,
        /// What the dynamic loader says.
        reason: String,
    },
    /// Every QMP socket serves another client.
    #[error("VM {domain}: another client holds the QMP socket {}", list(.paths.iter().map(|path| path.display())))]
    MonitorBusy {
        /// The VM.
        domain: String,
        /// The sockets that were tried.
        paths: Vec<PathBuf>,
    },
    /// Another process is changing the VM and does not end soon.
    #[error("VM {domain} is in use by {holder}; try again when that is done")]
    InUse {
        /// The VM.
        domain: String,
        /// Who uses it.
        holder: String,
    },
    /// The host does not let this user reach the VM.
    #[error(
        "permission denied: {what}; run ovmigrate as root (with CAP_SYS_PTRACE) or as the \
         user that runs QEMU"
    )]
    Permission {
        /// What was refused.
        what: String,
    },
    /// The VM's vCPUs do not run, and it was not ovmigrate that stopped them.
    #[error("VM {domain} is not running: {}", describe_state(.state))]
    NotRunning {
        /// The VM.
        domain: String,
        /// QEMU's `RunState`, for example `paused`.
        state: String,
    },
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The QMP or HMP command.
        command: String,
        /// What QEMU answered.
        reason: String,
    },
    /// QEMU, its gdb stub or the guest agent sent what the protocol does not
    /// allow, or what this version does not understand.
    #[error("unexpected answer from {from}: {detail}")]
    Protocol {
        /// Who sent it.
        from: String,
        /// What was wrong with it.
        detail: String,
    },
    /// No answer came in time.
    #[error("no answer from {from} within {}", humantime::format_duration(*.limit))]
    TimedOut {
        /// Who was asked.
        from: String,
        /// How long the answer was waited for.
        limit: Duration,
    },
    /// The guest agent does not answer or does not allow a command.
    #[error("guest agent of {domain}: {reason}")]
    Agent {
        /// The VM.
        domain: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A system call on the host failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the host said.
        source: io::Error,
    },
}

/// The result of an operation on a VM.
pub type Result<T, E = DomainError> = std::result::Result<T, E>;

impl DomainError {
    /// An operating-system error; a refused permission names its remedy.
    pub(super) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let (what, source) = (what.into(), source.into());
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission { what },
            _ => Self::Io { what, source },
        }
    }

    pub(super) fn protocol(from: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Protocol { from: from.into(), detail: detail.into() }
    }
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn describe_found(names: &[String]) -> String {
    match names {
        [] => "no QEMU process is visible here".into(),
        names => format!("running here: {}", list(names.iter())),
    }
}

/// Says what a `RunState` of QEMU (`qapi/run-state.json`) means for the user.
fn describe_state(state: &str) -> String {
    let meaning = match state {
        "paused" => "it was paused by its operator; continue it first",
        "shut off" => "it has not been started; start it first",
        "prelaunch" => "it waits to be started (-S); continue it first",
        "suspended" => "the guest is in suspend-to-RAM; wake it first",
        "shutdown" => "the guest has shut down",
        "guest-panicked" => "the guest kernel has panicked",
        "internal-error" => "QEMU or KVM hit an internal error",
        "io-error" => "a disk error stopped it",
        "watchdog" => "its watchdog stopped it",
        "debug" => "a debugger holds it",
        "inmigrate" | "postmigrate" | "finish-migrate" => "it is being migrated",
        "save-vm" | "restore-vm" => "a snapshot of it is being saved or loaded",
        _ => return format!("its state is {state}"),
    };
    format!("{meaning} (state {state})")
}
