//! The machine that measures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;

use super::error::{BenchError, Result};

/// The machine that measures, as it was before.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processors' model, as `/proc/cpuinfo` names it.
    pub cpu: String,
    /// How many of them this process may use.
    pub cpus: usize,
    /// Whether the machine is itself a VM: the `hypervisor` flag of the CPU.
    pub is_virtual: bool,
    /// Memory in bytes.
    pub memory: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// What `qemu-system-x86_64 --version` says first.
    pub qemu: String,
    /// This program's version, and whether it was built without optimisation.
    pub ovmigrate: String,
    /// Processes that ran or wanted to, on average of the last minute.
    pub load: f64,
    /// Where images go.
    pub places: Vec<Place>,
}

/// A directory that images are written to.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// The directory.
    pub path: PathBuf,
    /// The type of its file system.
    pub file_system: String,
    /// What is mounted there.
    pub device: String,
}

impl Machine {
    /// Describes this machine and the directories that are written to.
    ///
    /// # Errors
    ///
    /// Where `/proc` or QEMU cannot be asked.
    pub fn look(directories: &[&Path]) -> Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let load = read("/proc/loadavg")?;
        let of_cpu = |key: &str| {
            let is_it = |line: &&str| line.split(':').next().is_some_and(|name| name.trim() == key);
            let line = cpuinfo.lines().find(is_it);
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
        };
        Ok(Self {
            cpu: of_cpu("model name").to_owned(),
            cpus: available_parallelism().map_or(1, usize::from),
            is_virtual: of_cpu("flags").split(' ').any(|flag| flag == "hypervisor"),
            memory: memory("MemTotal")?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            qemu: qemu_version()?,
            ovmigrate: version(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
            places: directories.iter().map(|path| Place::of(path)).collect::<Result<_>>()?,
        })
    }

    /// The description for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let virtually = if self.is_virtual { ", itself a VM" } else { "" };
        let mut lines = vec![
            format!(
                "machine: {} × {}, {:.1} GiB{virtually}; load average {:.2} before the first run",
                self.cpus,
                self.cpu,
                self.memory as f64 / f64::from(1 << 30),
                self.load,
            ),
            format!("Linux {}; {}; ovmigrate {}", self.kernel, self.qemu, self.ovmigrate),
        ];
        let place = |place: &Place| {
            let Place { path, file_system, device } = place;
            format!("{}: {file_system} on {device}", path.display())
        };
        lines.extend(self.places.iter().map(place));
        lines
    }
}

impl Place {
    /// The file system that holds a directory: of the mounts on its way the
    /// longest, and of those the last.
    fn of(path: &Path) -> Result<Self> {
        let real = fs::canonicalize(path).map_err(BenchError::io("find", path))?;
        let mounts = read("/proc/self/mounts")?;
        let mut best: Option<(usize, Self)> = None;
        for line in mounts.lines() {
            let mut fields = line.split(' ');
            let (Some(device), Some(at), Some(kind)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if real.starts_with(at) && best.as_ref().is_none_or(|(length, _)| at.len() >= *length) {
                let (file_system, device) = (kind.to_owned(), device.to_owned());
                best = Some((at.len(), Self { path: path.to_owned(), file_system, device }));
            }
        }
        let unknown = || BenchError::Lacks(format!("no mount holds {}", path.display()));
        best.map(|(_, place)| place).ok_or_else(unknown)
    }
}

fn version() -> String {
    let built = if cfg!(debug_assertions) { ", a debug build" } else { "" };
    format!("{}{built}", env!("CARGO_PKG_VERSION"))
}

/// A line of `/proc/meminfo`, in bytes.
pub(super) fn memory(key: &str) -> Result<u64> {
    let meminfo = read("/proc/meminfo")?;
    let line = meminfo.lines().find(|line| line.split(':').next() == Some(key));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let unknown = || BenchError::Lacks(format!("/proc/meminfo has no {key}"));
    kibibytes.map(|kibibytes| kibibytes << 10).ok_or_else(unknown)
}

fn qemu_version() -> Result<String> {
    let program = Path::new("qemu-system-x86_64");
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(BenchError::io("run", program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn read(path: &str) -> Result<String> {
    let path = Path::new(path);
    fs::read_to_string(path).map_err(BenchError::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_directory_is_that_of_its_nearest_mount() {
        let place = Place::of(Path::new("/proc/self/fd/..")).unwrap();
        assert_eq!(place.file_system, "proc");
        assert!(Place::of(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn memory_is_in_bytes() {
        let total = memory("MemTotal").unwrap();
        assert!(total > 64 << 20 && memory("MemAvailable").unwrap() < total);
    }
}
