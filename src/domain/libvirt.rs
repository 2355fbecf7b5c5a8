//! Domains of libvirt, which holds the monitor and the guest agent's socket of
//! each QEMU it runs. All goes through its API, on one connection that stays
//! open. Its library is loaded by the first that asks for a domain.
//!
//! Monitor commands of others than libvirt mark the domain as tainted
//! (`custom-monitor`), in `virsh dominfo --taint` and in libvirt's log, until it ends.

mod library;

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::command::{Command, outcome};
use super::error::{DomainError, Result};
use super::process::QemuProcess;
use super::socket;
use library::{Domain, Error, ErrorCode, Libvirt};

/// How long QEMU may take to open a socket that it was told to open.
const SOCKET_LIMIT: Duration = Duration::from_secs(5);

/// `virDomainState` (`libvirt/libvirt-domain.h`).
const DOMAIN_RUNNING: i32 = 1;
const DOMAIN_BLOCKED: i32 = 2;
const DOMAIN_PAUSED: i32 = 3;

/// How a domain of libvirt is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Called<'a> {
    Name(&'a str),
    Uuid(&'a str),
}

/// A domain of libvirt.
#[derive(Debug, Clone)]
pub(super) struct LibvirtDomain {
    libvirt: &'static Libvirt,
    domain: Arc<Domain>,
    uri: String,
}

/// What a domain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Paused,
    /// It has ended, or is in a state that no command of ours ends.
    Other,
}

/// Where libvirt looks for what: the URI that the user gives, or that libvirt
/// itself would take, or those of its two usual daemons. A user who may reach
/// both finds the domains of the user who owns `process` first.
pub(super) fn uris(process: Option<&QemuProcess>) -> Vec<String> {
    if let Ok(uri) = env::var("LIBVIRT_DEFAULT_URI")
        && !uri.is_empty()
    {
        return vec![uri];
    }
    let ours = geteuid().as_raw();
    let owner = process.and_then(QemuProcess::owner).unwrap_or(ours);
    let mut folders = vec![PathBuf::from(format!("/run/user/{owner}"))];
    if owner == ours {
        folders.extend(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    }
    // A URI without a socket would start a daemon where none runs.
    let sockets = ["virtqemud-sock", "libvirt-sock"].map(|name| Path::new("libvirt").join(name));
    let sockets = folders.iter().flat_map(|folder| sockets.iter().map(|name| folder.join(name)));
    let sessions = sockets.filter(|socket| fs::exists(socket).unwrap_or(false));
    let sessions = sessions.map(|socket| format!("qemu:///session?socket={}", socket.display()));
    sessions.chain(["qemu:///system".to_owned()]).collect()
}

impl LibvirtDomain {
    /// The domain that the first of these connections has; `None` where all
    /// can be reached and none has it.
    ///
    /// # Errors
    ///
    /// [`DomainError::NoLibvirt`] where libvirt's library is missing,
    /// [`DomainError::Libvirt`] where some cannot be reached.
    pub fn find(name: &str, uris: &[String], called: Called<'_>) -> Result<Option<Self>> {
        let libvirt = Libvirt::get().map_err(|reason| DomainError::NoLibvirt {
            domain: name.to_owned(),
            reason: reason.to_owned(),
        })?;
        let mut failure = None;
        for uri in uris {
            match Self::open(libvirt, uri, called) {
                Ok(Some(domain)) => return Ok(Some(domain)),
                Ok(None) => {}
                Err(DomainError::Libvirt { uri, reason }) => {
                    let hint = "name the connection with --connect URI if it is another";
                    let reason = format!("looking for domain {name}: {reason}; {hint}");
                    failure = Some(DomainError::Libvirt { uri, reason });
                }
                Err(e) => failure = Some(e),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn open(libvirt: &'static Libvirt, uri: &str, called: Called<'_>) -> Result<Option<Self>> {
        let failed = |e: Error| libvirt_error(uri, &e);
        let connection = libvirt.connect(uri).map_err(failed)?;
        let found = match called {
            Called::Name(name) => connection.domain_named(name),
            Called::Uuid(uuid) => connection.domain_of_uuid(uuid),
        };
        match found {
            Ok(domain) => Ok(Some(Self { libvirt, domain: Arc::new(domain), uri: uri.to_owned() })),
            Err(e) if e.code == ErrorCode::NoDomain => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// Its name.
    pub fn name(&self) -> Result<String> {
        self.domain.name().map_err(|e| self.failed(&e))
    }

    /// Whether it has a QEMU.
    pub fn is_active(&self) -> Result<bool> {
        self.domain.is_active().map_err(|e| self.failed(&e))
    }

    /// What it does, as libvirt sees it.
    pub fn state(&self) -> Result<State> {
        match self.domain.state() {
            Ok(DOMAIN_RUNNING | DOMAIN_BLOCKED) => Ok(State::Running),
            Ok(DOMAIN_PAUSED) => Ok(State::Paused),
            Ok(_) => Ok(State::Other),
            Err(e) if e.code == ErrorCode::NoDomain => Ok(State::Other),
            Err(e) => Err(self.failed(&e)),
        }
    }

    /// Stops its vCPUs. By libvirt and not by the monitor's `stop`, so that it
    /// knows, and takes care of the locks of disks that it may hold.
    pub fn suspend(&self) -> Result<()> {
        self.domain.suspend().map_err(|e| self.failed(&e))
    }

    /// Continues them.
    pub fn resume(&self) -> Result<()> {
        self.domain.resume().map_err(|e| self.failed(&e))
    }

    /// Runs a command of the guest agent. libvirt keeps its clients apart.
    /// The answer is whole, as the agent sent it; what the agent refuses is an
    /// error with its text.
    pub fn agent(&self, request: &Value, limit: Duration) -> Result<Value, String> {
        let seconds = i32::try_from(limit.as_secs()).unwrap_or(i32::MAX);
        let answer = self.domain.agent_command(&request.to_string(), seconds);
        let answer = answer.map_err(|e| e.message)?;
        serde_json::from_str(&answer).map_err(|e| e.to_string())
    }

    /// Runs a command of QEMU's monitor.
    pub fn command(&self, (command, arguments): &Command<'_>) -> Result<Result<Value>> {
        let answer = self.domain.monitor_command(&request(command, arguments));
        self.outcome(command, answer)
    }

    /// The same with a descriptor for QEMU.
    fn command_with(
        &self,
        (command, arguments): &Command<'_>,
        fd: BorrowedFd<'_>,
    ) -> Result<Result<Value>> {
        let answer = self.domain.monitor_command_with(&request(command, arguments), fd);
        self.outcome(command, answer)
    }

    fn outcome(&self, command: &str, answer: Result<String, Error>) -> Result<Result<Value>> {
        let answer = serde_json::from_str(&answer.map_err(|e| self.failed(&e))?)
            .map_err(|e| DomainError::protocol(command.to_owned(), e.to_string()))?;
        Ok(outcome(command, answer))
    }

    /// Its QEMU, by the host's number of a thread that runs a vCPU: nothing
    /// that libvirt tells of a domain names the process.
    fn process(&self) -> Result<QemuProcess> {
        let cpus = self.command(&("query-cpus-fast", json!({})))??;
        let thread = cpus[0]["thread-id"].as_i64();
        let status = thread.and_then(|id| fs::read_to_string(format!("/proc/{id}/status")).ok());
        let pid = status.and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
            line.trim().parse().ok()
        });
        let process = pid.and_then(|pid| QemuProcess::open(pid).ok());
        // In another PID namespace, or on another host, the number is another's.
        let uuid = self.domain.uuid().map_err(|e| self.failed(&e))?;
        process.filter(|process| process.uuid().as_deref() == Some(&uuid)).ok_or_else(|| {
            let reason = "its QEMU is not among the processes that are visible here".to_owned();
            DomainError::Libvirt { uri: self.uri.clone(), reason }
        })
    }

    fn failed(&self, error: &Error) -> DomainError {
        libvirt_error(&self.uri, error)
    }
}

/// How a domain is found again, also from another process.
#[derive(Debug)]
pub(super) struct LibvirtAddress {
    libvirt: &'static Libvirt,
    uri: String,
    uuid: String,
}

impl LibvirtAddress {
    /// Opens another connection.
    pub fn open(&self) -> Result<LibvirtDomain> {
        LibvirtDomain::open(self.libvirt, &self.uri, Called::Uuid(&self.uuid))?.ok_or_else(|| {
            let reason = "the domain is gone".to_owned();
            DomainError::Libvirt { uri: self.uri.clone(), reason }
        })
    }
}

/// The QMP monitor of a domain.
#[derive(Debug)]
pub(super) struct LibvirtMonitor {
    domain: LibvirtDomain,
    address: LibvirtAddress,
    pid: i32,
    /// Where QEMU may make files.
    folder: Option<PathBuf>,
}

impl LibvirtMonitor {
    /// The monitor of a domain that is active, and its QEMU.
    pub fn of(domain: LibvirtDomain) -> Result<(Self, QemuProcess)> {
        let process = domain.process()?;
        let uuid = domain.domain.uuid().map_err(|e| domain.failed(&e))?;
        let address = LibvirtAddress { libvirt: domain.libvirt, uri: domain.uri.clone(), uuid };
        let (pid, folder) = (process.pid(), process.libvirt_folder());
        Ok((Self { domain, address, pid, folder }, process))
    }

    /// As [`Qmp::execute_all`](super::Qmp::execute_all).
    pub fn execute_all(&self, commands: &[Command<'_>]) -> Result<Vec<Result<Value>>> {
        commands.iter().map(|command| self.domain.command(command)).collect()
    }

    /// Runs a command that QEMU gets a descriptor with.
    pub fn execute_with(&self, command: &Command<'_>, fd: BorrowedFd<'_>) -> Result<Value> {
        self.domain.command_with(command, fd)?
    }

    /// Continues the vCPUs.
    pub fn cont(&self) -> Result<()> {
        self.domain.resume()
    }

    /// How another process finds the domain.
    pub fn address(&self) -> &LibvirtAddress {
        &self.address
    }

    /// As [`Qmp::add_socket`](super::Qmp::add_socket). QEMU makes the socket
    /// in the domain's own folder, the one place where AppArmor, SELinux and
    /// file modes let it, and only for as long as it takes us to connect.
    pub fn add_socket(&self, id: &str) -> Result<UnixStream> {
        let folder = self.folder.as_deref().ok_or_else(|| {
            DomainError::protocol("libvirt", "QEMU's command line names no folder of the domain")
        })?;
        let path = folder.join(id);
        let address = json!({ "type": "unix", "data": { "path": path } });
        let data = json!({ "addr": address, "server": true, "wait": false });
        let backend = json!({ "type": "socket", "data": data });
        self.domain.command(&("chardev-add", json!({ "id": id, "backend": backend })))??;
        let connected = self.connect(folder, id);
        if connected.is_err() {
            self.domain.command(&("chardev-remove", json!({ "id": id })))??;
        }
        connected
    }

    /// Connects to the socket `id` in `folder` and removes its name.
    fn connect(&self, folder: &Path, id: &str) -> Result<UnixStream> {
        // As QEMU sees it: libvirt may have given it a mount namespace.
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        let folder = root.join(folder.strip_prefix("/").unwrap_or(folder));
        let failed = |e| DomainError::io(format!("cannot connect to {id} of {folder:?}"), e);
        // By a descriptor, as the address of a socket is short.
        let opened = fs::File::open(&folder).map_err(failed)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(id);
        let stream = socket::connect(&path, Instant::now() + SOCKET_LIMIT).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?;
        match socket::peer(&stream).map_err(failed)? {
            pid if pid == self.pid => Ok(stream),
            pid => {
                let detail = format!("its socket {id} is served by process {pid}");
                Err(DomainError::protocol("QEMU", detail))
            }
        }
    }
}

/// A command as QEMU takes it.
fn request(command: &str, arguments: &Value) -> String {
    json!({ "execute": command, "arguments": arguments }).to_string()
}

fn libvirt_error(uri: &str, error: &Error) -> DomainError {
    let reason = error.message.trim().replace('\n', " ");
    if matches!(error.code, ErrorCode::AuthFailed | ErrorCode::AccessDenied) {
        return DomainError::Permission { what: format!("libvirt ({uri}): {reason}") };
    }
    DomainError::Libvirt { uri: uri.to_owned(), reason }
}
