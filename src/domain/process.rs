//! The QEMU process behind a VM, and what its command line says.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{DomainError, Result};
use super::handle::{ProcessHandle, start_time_of};
use super::options::Options;

/// The name of the virtio-serial port that the QEMU guest agent listens on.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";

/// A running QEMU process.
#[derive(Debug, Clone)]
pub struct QemuProcess {
    pid: i32,
    /// In clock ticks after the host's boot: tells it from a later process
    /// with its PID.
    start_time: u64,
    args: Vec<String>,
}

impl QemuProcess {
    /// Every QEMU process this user can see, in order of PID.
    ///
    /// # Errors
    ///
    /// [`DomainError::Io`] where `/proc` cannot be listed.
    pub fn all() -> Result<Vec<Self>> {
        let entries = fs::read_dir("/proc").map_err(|e| DomainError::io("cannot list /proc", e))?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut found: Vec<Self> = pids.filter_map(|pid| Self::open(pid).ok()).collect();
        found.sort_by_key(|process| process.pid);
        Ok(found)
    }

    /// The QEMU process with this PID.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotQemu`] where there is none.
    pub fn open(pid: i32) -> Result<Self> {
        // Most processes are told apart by this one system call. Another
        // user's cannot be asked for it: then its first argument has to do.
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        match &exe {
            Ok(exe) if names_qemu(exe) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            _ => return Err(DomainError::NotQemu(pid)),
        }
        let cmdline =
            fs::read(format!("/proc/{pid}/cmdline")).map_err(|_| DomainError::NotQemu(pid))?;
        let args = split_cmdline(&cmdline);
        if exe.is_err() && !args.first().is_some_and(|program| names_qemu(Path::new(program))) {
            return Err(DomainError::NotQemu(pid));
        }
        let start_time = start_time_of(pid).map_err(|_| DomainError::NotQemu(pid))?;
        Ok(Self { pid, start_time, args })
    }

    /// Its PID on this host.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Takes hold of it.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotQemu`] where it has ended since it was found.
    pub fn hold(&self) -> Result<ProcessHandle> {
        ProcessHandle::open(self.pid, self.start_time)
    }

    /// The guest's name as `-name` gives it.
    pub fn name(&self) -> Option<String> {
        let options = Options::parse(self.values_of("name").last()?, "guest");
        options.get("guest").map(str::to_owned)
    }

    /// The name, or the PID of a VM without one, as a user can pass it back.
    pub fn display_name(&self) -> String {
        self.name().unwrap_or_else(|| format!("pid:{}", self.pid))
    }

    /// The guest's UUID as `-uuid` gives it.
    pub fn uuid(&self) -> Option<String> {
        self.values_of("uuid").last().map(str::to_owned)
    }

    /// The host's user that it runs as.
    pub fn owner(&self) -> Option<u32> {
        fs::metadata(format!("/proc/{}", self.pid)).ok().map(|entry| entry.uid())
    }

    /// Whether libvirt started it, and so holds its monitor: the chardev's
    /// name is libvirt's (`qemuBuildMonitorCommandLine`).
    pub fn is_libvirts(&self) -> bool {
        let mut monitors = self.values_of("mon").map(|value| Options::parse(value, "chardev"));
        monitors.any(|monitor| monitor.get("chardev") == Some("charmonitor"))
    }

    /// The folder that libvirt has made for this domain's files, where it has
    /// QEMU read the key of its secrets.
    pub fn libvirt_folder(&self) -> Option<PathBuf> {
        let objects = self.values_of("object").map(|value| Options::parse(value, "qom-type"));
        let mut keys = objects.filter(|object| object.get("id") == Some("masterKey0"));
        keys.find_map(|key| Some(Path::new(key.get("file")?).parent()?.to_owned()))
    }

    /// The unix sockets of its QMP monitors.
    pub fn monitors(&self) -> Vec<PathBuf> {
        let direct = self.values_of("qmp").chain(self.values_of("qmp-pretty"));
        let direct = direct.filter_map(|value| Some(value.strip_prefix("unix:")?.to_owned()));
        let direct =
            direct.filter_map(|value| Some(Options::parse(&value, "path").get("path")?.to_owned()));
        let chardevs = self.values_of("mon").filter_map(|value| {
            let monitor = Options::parse(value, "chardev");
            let is_qmp = monitor.get("mode") == Some("control");
            is_qmp.then(|| self.chardev_socket(monitor.get("chardev")?)).flatten()
        });
        direct.chain(chardevs).map(|path| self.resolve(&path)).collect()
    }

    /// The unix socket of the guest agent's virtio-serial port.
    pub fn agent_socket(&self) -> Option<PathBuf> {
        let port = self.agent_port()?;
        let path = self.chardev_socket(port.get("chardev")?)?;
        Some(self.resolve(&path))
    }

    /// The virtio-serial bus that the guest agent's port is on, where the
    /// command line names it.
    pub fn agent_bus(&self) -> Option<String> {
        self.agent_port()?.get("bus").map(str::to_owned)
    }

    fn agent_port(&self) -> Option<Options> {
        let devices = self.values_of("device").map(|value| Options::parse(value, "driver"));
        devices.into_iter().find(|device| {
            device.get("driver") == Some("virtserialport") && device.get("name") == Some(AGENT_PORT)
        })
    }

    /// The path of `-chardev socket,id=ID,path=…`.
    fn chardev_socket(&self, id: &str) -> Option<String> {
        let chardevs = self.values_of("chardev").map(|value| Options::parse(value, "backend"));
        let mut sockets = chardevs.filter(|chardev| chardev.get("backend") == Some("socket"));
        let socket = sockets.find(|chardev| chardev.get("id") == Some(id))?;
        socket.get("path").map(str::to_owned)
    }

    /// A relative path is relative to where QEMU was started.
    fn resolve(&self, path: &str) -> PathBuf {
        let cwd = fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap_or_default();
        cwd.join(path)
    }

    /// The values of every `-option` or `--option`.
    fn values_of(&self, option: &str) -> impl Iterator<Item = &str> {
        let pairs = self.args.iter().zip(self.args.iter().skip(1));
        pairs.filter_map(move |(name, value)| {
            let name = name.strip_prefix("--").or_else(|| name.strip_prefix('-'))?;
            (name == option).then_some(value.as_str())
        })
    }
}

/// Splits `/proc/PID/cmdline` at its NUL bytes.
fn split_cmdline(cmdline: &[u8]) -> Vec<String> {
    let text = cmdline.strip_suffix(&[0]).unwrap_or(cmdline);
    text.split(|&byte| byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

/// Distributions install `qemu-system-ARCH`; RHEL and its kin, `qemu-kvm`.
fn names_qemu(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("qemu-system-") || name.starts_with("qemu-kvm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(args: &[&str]) -> QemuProcess {
        QemuProcess {
            pid: 1,
            start_time: 0,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
        }
    }

    #[test]
    fn name_in_each_form() {
        let name = |value: &str| process(&["qemu-system-x86_64", "-name", value]).name();
        assert_eq!(name("vm1").as_deref(), Some("vm1"));
        assert_eq!(name("guest=vm1,debug-threads=on").as_deref(), Some("vm1"));
        assert_eq!(name("vm,,1,process=x").as_deref(), Some("vm,1"));
        assert_eq!(process(&["qemu-system-x86_64", "--name", "a"]).name().as_deref(), Some("a"));
        assert_eq!(process(&["qemu-system-x86_64"]).display_name(), "pid:1");
    }

    #[test]
    fn monitors_of_both_kinds_but_not_the_human_one() {
        let found = process(&[
            "qemu-system-x86_64",
            "-qmp",
            "unix:/run/a.qmp,server=on,wait=off",
            "-qmp",
            "tcp:localhost:4444,server=on",
            "-chardev",
            "socket,id=mon0,path=/run/b.qmp,server=on,wait=off",
            "-mon",
            "chardev=mon0,mode=control",
            "-chardev",
            "socket,id=mon1,path=/run/hmp,server=on,wait=off",
            "-mon",
            "mon1,mode=readline",
        ])
        .monitors();
        assert_eq!(found, [PathBuf::from("/run/a.qmp"), PathBuf::from("/run/b.qmp")]);
    }

    #[test]
    fn agent_socket_follows_the_port_to_its_chardev() {
        let args =
            ["qemu-system-x86_64", "-chardev", "socket,path=/run/ga,id=ga0,server=on,wait=off"];
        let plain = "virtserialport,bus=serial0.0,chardev=ga0,name=org.qemu.guest_agent.0";
        let json = r#"{"driver":"virtserialport","chardev":"ga0","name":"org.qemu.guest_agent.0"}"#;
        let with = |device| process(&[&args[..], &["-device", device]].concat());
        assert_eq!(with(plain).agent_socket(), Some("/run/ga".into()));
        assert_eq!(with(plain).agent_bus().as_deref(), Some("serial0.0"));
        assert_eq!(with(json).agent_socket(), Some("/run/ga".into()));
        assert_eq!(with("virtserialport,chardev=ga0,name=com.redhat.spice.0").agent_socket(), None);
    }

    #[test]
    fn other_programs_are_not_qemu() {
        assert!(names_qemu(Path::new("/usr/bin/qemu-system-x86_64 (deleted)")));
        assert!(names_qemu(Path::new("/usr/libexec/qemu-kvm")));
        assert!(!names_qemu(Path::new("/usr/bin/qemu-img")));
        assert!(matches!(QemuProcess::open(i32::MAX), Err(DomainError::NotQemu(_))));
        let ours = std::process::id() as i32;
        assert!(matches!(QemuProcess::open(ours), Err(DomainError::NotQemu(pid)) if pid == ours));
    }
}
