//! Where the guest's RAM is: in guest-physical space, in the QEMU process and
//! in the file behind it. Every address is QEMU's own answer; nothing is
//! assumed about PCI holes or machine types.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::error::{DomainError, Result};
use super::qmp::Qmp;

/// More pieces than any machine has; the list is QEMU's, not the guest's, but
/// a guest can move the windows of its chip set.
const MAX_BLOCKS: usize = 4096;

/// A contiguous piece of guest RAM. All figures are bytes.
#[derive(Debug)]
pub struct RamBlock {
    /// Guest-physical address of its first byte.
    pub guest_phys: u64,
    /// Its length.
    pub len: u64,
    /// Where its first byte is in the QEMU process.
    pub host_virt: u64,
    /// The file behind it, where QEMU maps one shared; a private mapping can
    /// only be reached through the QEMU process.
    pub backing: Option<SharedFile>,
}

/// A file that QEMU maps `MAP_SHARED` as guest RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// The QEMU process's own descriptor of it, `/proc/PID/fd/N`.
    pub path: PathBuf,
    /// Where the block begins in the file, in bytes.
    pub offset: u64,
}

impl SharedFile {
    /// Opens the file for reading and writing.
    ///
    /// # Errors
    ///
    /// [`DomainError::Permission`] or [`DomainError::Io`].
    pub fn open(&self) -> Result<File> {
        let opened = File::options().read(true).write(true).open(&self.path);
        opened.map_err(|e| DomainError::io(format!("cannot open {}", self.path.display()), e))
    }
}

/// A piece of guest RAM as `info mtree -f` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FlatRange {
    guest_phys: u64,
    len: u64,
    /// The memory region it shows, and the offset in it.
    region: String,
    offset: u64,
}

/// Finds all RAM of the guest.
pub(super) fn ram_blocks(qmp: &mut Qmp, pid: i32) -> Result<Vec<RamBlock>> {
    let backends = memory_backends(qmp)?;
    let tree = qmp.human("info mtree -f")?;
    let ranges = join(flat_ram(&tree, &backends));
    if ranges.is_empty() || ranges.len() > MAX_BLOCKS {
        let detail = format!("info mtree -f lists {} pieces of RAM", ranges.len());
        return Err(DomainError::protocol("QEMU", detail));
    }
    let maps_path = format!("/proc/{pid}/maps");
    let maps = fs::read_to_string(&maps_path)
        .map_err(|e| DomainError::io(format!("cannot read {maps_path}"), e))?;
    let maps: Vec<Mapping> = maps.lines().filter_map(Mapping::parse).collect();
    let mut blocks = Vec::with_capacity(ranges.len());
    for range in ranges {
        let host_virt = host_address(qmp, &range)?;
        let backing = match file_extent(&maps, host_virt, range.len) {
            Some(extent) => open_descriptor(pid, &extent)?,
            None => None,
        };
        blocks.push(RamBlock { guest_phys: range.guest_phys, len: range.len, host_virt, backing });
    }
    Ok(blocks)
}

/// The IDs of the memory backends. A machine without `-object
/// memory-backend-…` has one that QEMU made itself (`pc.ram`).
fn memory_backends(qmp: &mut Qmp) -> Result<Vec<String>> {
    let answer = qmp.execute("query-memdev", json!({}))?;
    let backends = answer.as_array().map_or(&[][..], Vec::as_slice);
    Ok(backends.iter().filter_map(|backend| Some(backend["id"].as_str()?.to_owned())).collect())
}

/// The ranges of kind `ram` that show one of `backends` in the flat view of
/// the address space `memory`. Video memory and firmware have regions of
/// their own; RAM that the chip set write-protects (`rom`) holds firmware.
fn flat_ram(tree: &str, backends: &[String]) -> Vec<FlatRange> {
    let views = tree.split("FlatView #");
    let Some(view) = views.into_iter().find(|view| view.contains(" AS \"memory\",")) else {
        return Vec::new();
    };
    // Machine types before 4.1 call a backend's region by its QOM path.
    let is_backend = |region: &str| {
        let id = region.strip_prefix("/objects/").unwrap_or(region);
        backends.iter().any(|backend| backend == id)
    };
    let ranges = view.lines().filter_map(parse_range);
    ranges.filter(|range| is_backend(&range.region)).collect()
}

/// Parses `START-END (prio N, ram): REGION @OFFSET`, all hexadecimal, END
/// inclusive; the offset is left out where it is zero, and the accelerator's
/// name may follow.
fn parse_range(line: &str) -> Option<FlatRange> {
    let (addresses, rest) = line.trim().split_once(" (prio ")?;
    let (kind, what) = rest.split_once("): ")?;
    let (start, end) = addresses.split_once('-')?;
    let guest_phys = u64::from_str_radix(start, 16).ok()?;
    let len = u64::from_str_radix(end, 16).ok()?.checked_sub(guest_phys)?.checked_add(1)?;
    if kind.split_once(", ")?.1 != "ram" {
        return None;
    }
    let mut words = what.split_whitespace();
    let region = words.next()?.to_owned();
    let offset = match words.find_map(|word| word.strip_prefix('@')) {
        Some(offset) => u64::from_str_radix(offset, 16).ok()?,
        None => 0,
    };
    Some(FlatRange { guest_phys, len, region, offset })
}

/// Joins neighbours that continue one another in the guest and in the region.
fn join(mut ranges: Vec<FlatRange>) -> Vec<FlatRange> {
    ranges.sort_by_key(|range| range.guest_phys);
    let mut joined: Vec<FlatRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last)
                if last.region == range.region
                    && last.guest_phys.checked_add(last.len) == Some(range.guest_phys)
                    && last.offset.checked_add(last.len) == Some(range.offset) =>
            {
                last.len += range.len;
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The host address of a range by HMP `gpa2hva`, asked at both ends.
fn host_address(qmp: &mut Qmp, range: &FlatRange) -> Result<u64> {
    let mut ask = |guest_phys: u64| {
        let answer = qmp.human(&format!("gpa2hva {guest_phys:#x}"))?;
        parse_gpa2hva(&answer).ok_or_else(|| DomainError::protocol("gpa2hva", answer.trim()))
    };
    let first = ask(range.guest_phys)?;
    let last = ask(range.guest_phys + (range.len - 1))?;
    if first.checked_add(range.len - 1) != Some(last) {
        let detail = format!(
            "guest RAM {:#x}+{:#x} is not contiguous in QEMU ({first:#x}, {last:#x})",
            range.guest_phys, range.len
        );
        return Err(DomainError::protocol("gpa2hva", detail));
    }
    Ok(first)
}

/// Parses `Host virtual address for 0x0 (mem) is 0x7fac07fff000`.
fn parse_gpa2hva(answer: &str) -> Option<u64> {
    let (_, address) = answer.trim().split_once(" is 0x")?;
    u64::from_str_radix(address, 16).ok()
}

/// A line of `/proc/PID/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    shared: bool,
    /// `major:minor` in hexadecimal, as printed there.
    device: String,
    inode: u64,
    offset: u64,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            shared: words.next()?.as_bytes().get(3) == Some(&b's'),
            offset: u64::from_str_radix(words.next()?, 16).ok()?,
            device: words.next()?.to_owned(),
            inode: words.next()?.parse().ok()?,
        })
    }
}

/// The shared file behind `len` bytes at `host_virt`, which may lie in several
/// mappings (`mbind` and `madvise` split them) if they continue one another.
fn file_extent(maps: &[Mapping], host_virt: u64, len: u64) -> Option<Mapping> {
    let end = host_virt.checked_add(len)?;
    let first = maps.iter().find(|map| map.start <= host_virt && host_virt < map.end)?;
    let offset_of = |address: u64| first.offset.wrapping_add(address.wrapping_sub(first.start));
    let pieces = maps.iter().filter(|map| map.start < end && map.end > host_virt);
    let mut reached = host_virt;
    for piece in pieces {
        let continues = piece.start <= reached
            && piece.shared
            && (&piece.device, piece.inode) == (&first.device, first.inode)
            && piece.offset == offset_of(piece.start);
        if piece.inode == 0 || !continues {
            return None;
        }
        reached = piece.end;
    }
    (reached >= end).then(|| Mapping { offset: offset_of(host_virt), ..first.clone() })
}

/// Finds the descriptor of QEMU for a mapped file. All memory files carry one
/// name, so device and inode decide.
fn open_descriptor(pid: i32, extent: &Mapping) -> Result<Option<SharedFile>> {
    let dir = format!("/proc/{pid}/fd");
    let entries =
        fs::read_dir(&dir).map_err(|e| DomainError::io(format!("cannot read {dir}"), e))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if is_file(&path, extent).unwrap_or(false) {
            return Ok(Some(SharedFile { path, offset: extent.offset }));
        }
    }
    Ok(None)
}

fn is_file(path: &Path, extent: &Mapping) -> io::Result<bool> {
    let stat = fs::metadata(path)?;
    let (major, minor) = (nix::sys::stat::major(stat.dev()), nix::sys::stat::minor(stat.dev()));
    Ok(stat.ino() == extent.inode && format!("{major:02x}:{minor:02x}") == extent.device)
}

#[cfg(test)]
mod tests;
