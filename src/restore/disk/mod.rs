//! The images as a disk that is plugged for as long as needed. The guest mounts
//! it, and `criu restore` reads from the files of the host: nothing is copied
//! before, and while CRIU puts pages in their place the guest's kernel and QEMU
//! read the next ones.
//!
//! ```text
//! images ─┬─ small, and the file system around all ── memory ─┐
//!         └─ large ───────────────────────────────────────────┴─ VMDK ─ virtio-blk, read-only
//! ```
//!
//! QEMU gets open descriptors, so that it needs no right to the files. A source
//! of pages that is not a plain file has no place here: it goes by the port.

mod iso;
mod slots;
mod vmdk;

use std::cell::Cell;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::json;

use super::images::ImageSet;
use crate::domain::{Domain, DomainError, Qmp};
use iso::{Copied, Entry, Layout, Source};
use slots::Slot;

/// What the IDs of our disks begin with; the PID of this process follows.
const ID: &str = "ovmigrate-disk-";

/// How many files QEMU is given: it has some 1000 descriptors in all.
const MAX_FILES: usize = 400;

/// How long a disk may resist being removed, and how often the guest is asked.
/// A busy emulated CPU takes seconds to drop what it has cached of the disk.
const UNPLUG_LIMIT: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_secs(6);

/// A plugged disk; unplugged when dropped.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    domain: &'a Domain,
    id: String,
    blocks: u64,
    /// When the guest was asked to let go of it.
    asked: Cell<Option<Instant>>,
}

impl<'a> Disk<'a> {
    /// Plugs a disk with all images.
    ///
    /// # Errors
    ///
    /// Why that cannot be, for people. Nothing is left plugged then.
    pub fn plug(domain: &'a Domain, images: &ImageSet) -> Result<Self, String> {
        remove_left_over(domain).map_err(|e| e.to_string())?;
        let mut qmp = domain.qmp();
        let pci = qmp.execute("query-pci", json!({})).map_err(|e| e.to_string())?;
        let slots = slots::free_slots(&pci);
        if slots.is_empty() {
            return Err("the machine has no free PCI slot that takes a device while it runs".into());
        }
        let contents = Contents::of(images)?;
        let id = format!("{ID}{}", process::id());
        add_node(&mut qmp, &id, &contents)?;
        drop(qmp);
        // From here on it is taken away again whatever happens.
        let blocks = contents.layout.len() / vmdk::BLOCK;
        let disk = Self { domain, id, blocks, asked: Cell::default() };
        disk.plug_into(&slots)?;
        Ok(disk)
    }

    fn plug_into(&self, slots: &[Slot]) -> Result<(), String> {
        let mut refusal = String::new();
        for Slot { bus, addr } in slots {
            // It is read as hexadecimal (`set_pci_devfn()`).
            let addr = format!("{addr:x}");
            let device = json!({
                "driver": "virtio-blk-pci", "id": self.id, "drive": self.id, "serial": self.serial(),
                "bus": bus, "addr": addr,
            });
            match self.domain.qmp().execute("device_add", device) {
                Ok(_) => return Ok(()),
                Err(e) => refusal = e.to_string(),
            }
        }
        Err(refusal)
    }

    /// What the guest knows it by; QEMU takes 20 characters.
    pub fn serial(&self) -> String {
        format!("ovm-{}", process::id())
    }

    /// Its length, in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Asks the guest to let go of it, without a wait until it has.
    pub fn let_go(&self) {
        // What is refused here is found out when it is removed.
        let _ = self.domain.qmp().execute("device_del", json!({ "id": self.id }));
        self.asked.set(Some(Instant::now()));
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if let Err(e) = unplug(self.domain, &self.id, self.asked.get()) {
            tracing::warn!("VM {}: {} is left plugged: {e}", self.domain.name(), self.id);
        }
    }
}

/// What a disk is made of.
#[derive(Debug)]
struct Contents {
    layout: Layout,
    memory: File,
    /// Those that are not copied, by their index among the images.
    files: Vec<(usize, File)>,
}

impl Contents {
    fn of(images: &ImageSet) -> Result<Self, String> {
        let entries: Vec<_> = images
            .images
            .iter()
            .map(|image| Entry { name: &image.name, size: image.size })
            .collect();
        let layout =
            Layout::of(&entries).ok_or("the images are too many for a disk, or too large")?;
        let used = layout.pieces.iter().filter_map(|piece| match piece.source {
            Source::File(index) => Some(index),
            Source::Memory => None,
        });
        let mut files = Vec::new();
        for index in used {
            let image = &images.images[index];
            let opened = File::open(images.path(&image.name));
            let file = opened.map_err(|e| format!("{}: {e}", image.name))?;
            // QEMU would take what is missing for zeros.
            if file.metadata().map_or(0, |metadata| metadata.len()) < image.size {
                return Err(format!("{} has become shorter", image.name));
            }
            files.push((index, file));
        }
        if files.len() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} images are large"));
        }
        let memory = in_memory(&layout, images)?;
        Ok(Self { layout, memory, files })
    }
}

/// What is not read from where it lies, in a file without a name.
fn in_memory(layout: &Layout, images: &ImageSet) -> Result<File, String> {
    let failed = |e: std::io::Error| format!("no memory for a disk: {e}");
    let memory = nameless("ovmigrate-disk").map_err(failed)?;
    memory.set_len(layout.memory).map_err(failed)?;
    memory.write_all_at(&layout.head, 0).map_err(failed)?;
    for &Copied { file, from, len, to } in &layout.copied {
        let name = &images.images[file].name;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read =
            File::open(images.path(name)).and_then(|file| file.read_exact_at(&mut bytes, from));
        read.map_err(|e| format!("{name}: {e}"))?;
        memory.write_all_at(&bytes, to).map_err(failed)?;
    }
    Ok(memory)
}

fn nameless(name: &str) -> std::io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// Gives QEMU the block device.
fn add_node(qmp: &mut Qmp, id: &str, contents: &Contents) -> Result<(), String> {
    let mut sets = Vec::new();
    let added = open_node(qmp, id, contents, &mut sets);
    // The block device has descriptors of its own by now.
    for set in sets {
        if let Err(e) = qmp.execute("remove-fd", json!({ "fdset-id": set })) {
            tracing::debug!("{e}");
        }
    }
    added
}

fn open_node(
    qmp: &mut Qmp,
    id: &str,
    contents: &Contents,
    sets: &mut Vec<u64>,
) -> Result<(), String> {
    let mut give = |qmp: &mut Qmp, file: &File| -> Result<u64, String> {
        let set = qmp.add_fd(file.as_fd()).map_err(|e| e.to_string())?;
        sets.push(set);
        Ok(set)
    };
    let failed = |e: std::io::Error| format!("no descriptor of a disk: {e}");
    // A descriptor is taken for what QEMU wants to do with it: one that can be
    // written to is of no use for reading.
    let memory = give(qmp, &read_only(&contents.memory).map_err(failed)?)?;
    let mut files = Vec::new();
    for (index, file) in &contents.files {
        files.push((*index, give(qmp, file)?));
    }
    let name = |source| {
        let set = match source {
            Source::Memory => Some(memory),
            Source::File(index) => {
                files.iter().find(|(file, _)| *file == index).map(|(_, set)| *set)
            }
        };
        set.map_or(String::new(), of_set)
    };
    let text = vmdk::descriptor(&contents.layout, name);
    let descriptor = nameless("ovmigrate-vmdk").map_err(failed)?;
    descriptor.write_all_at(text.as_bytes(), 0).map_err(failed)?;
    let descriptor = give(qmp, &read_only(&descriptor).map_err(failed)?)?;
    let file = json!({ "driver": "file", "filename": of_set(descriptor), "read-only": true });
    let node = json!({
        "driver": "vmdk", "node-name": id, "read-only": true, "auto-read-only": false, "file": file,
    });
    qmp.execute("blockdev-add", node).map(drop).map_err(|e| e.to_string())
}

/// What QEMU opens a descriptor by that it was given (`qemu_open_internal()`).
fn of_set(set: u64) -> String {
    format!("/dev/fdset/{set}")
}

fn read_only(file: &File) -> std::io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Has the guest let go of the disk, and removes what is behind it, which the
/// disk holds until it is gone.
fn unplug(domain: &Domain, id: &str, mut asked: Option<Instant>) -> Result<(), DomainError> {
    let device = json!({ "id": id });
    let node = json!({ "node-name": id });
    let deadline = Instant::now() + UNPLUG_LIMIT;
    loop {
        let mut commands = vec![("blockdev-del", node.clone())];
        if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
            asked = Some(Instant::now());
            commands.insert(0, ("device_del", device.clone()));
        }
        // The device may be gone already; what counts is the last step.
        match domain.qmp().execute_all(&commands)?.pop() {
            Some(Err(e)) if Instant::now() >= deadline => return Err(e),
            Some(Err(_)) => thread::sleep(Duration::from_millis(20)),
            _ => return Ok(()),
        }
    }
}

/// Unplugs the disks of processes that were killed.
fn remove_left_over(domain: &Domain) -> Result<(), DomainError> {
    let answer = domain.qmp().execute("query-named-block-nodes", json!({ "flat": true }))?;
    let nodes = answer.as_array().map_or(&[][..], Vec::as_slice);
    let names = nodes.iter().filter_map(|node| node["node-name"].as_str());
    for id in names.filter(|name| name.starts_with(ID)) {
        let owner = Path::new("/proc").join(id.trim_start_matches(ID));
        if !fs::exists(owner).unwrap_or(true) {
            unplug(domain, id, None)?;
        }
    }
    Ok(())
}
