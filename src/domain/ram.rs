//! Where the guest's RAM is: in guest-physical space, in the QEMU process and
//! in the file behind it. Every address is QEMU's own answer; nothing is
//! assumed about PCI holes or machine types.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::command;
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
    /// The file behind it, where there is one.
    pub backing: Option<BackingFile>,
}

/// A file that QEMU maps as guest RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    /// The QEMU process's own descriptor of it, `/proc/PID/fd/N`.
    pub path: PathBuf,
    /// Where the block begins in the file, in bytes.
    pub offset: u64,
    /// Whether it is mapped `MAP_SHARED`, so that the file is the RAM. What
    /// the guest writes to a private mapping is in the QEMU process alone.
    pub shared: bool,
}

impl BackingFile {
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

impl FlatRange {
    /// Guest-physical address of its last byte.
    fn last_byte(&self) -> u64 {
        self.guest_phys + (self.len - 1)
    }
}

/// Finds all RAM of the guest.
pub(super) fn ram_blocks(qmp: &mut Qmp, pid: i32) -> Result<Vec<RamBlock>> {
    let ranges = flat_ranges(qmp)?;
    let hosts = host_addresses(qmp, &ranges)?;
    let maps_path = format!("/proc/{pid}/maps");
    let maps = fs::read_to_string(&maps_path)
        .map_err(|e| DomainError::io(format!("cannot read {maps_path}"), e))?;
    let maps: Vec<Mapping> = maps.lines().filter_map(Mapping::parse).collect();
    let blocks = ranges.iter().zip(hosts).map(|(range, host_virt)| {
        let backing = match file_extent(&maps, host_virt, range.len) {
            Some(extent) => open_descriptor(pid, &extent)?,
            None => None,
        };
        Ok(RamBlock { guest_phys: range.guest_phys, len: range.len, host_virt, backing })
    });
    blocks.collect()
}

/// The pieces of RAM, from the memory backends and the flat view. A machine
/// without `-object memory-backend-…` has a backend that QEMU made (`pc.ram`).
fn flat_ranges(qmp: &mut Qmp) -> Result<Vec<FlatRange>> {
    let commands = [("query-memdev", json!({})), command::human("info mtree -f")];
    let answers = qmp.execute_all(&commands)?;
    let [backends, tree] = <[_; 2]>::try_from(answers.into_iter().collect::<Result<Vec<_>>>()?)
        .map_err(|_| DomainError::protocol("QMP", "answers are missing"))?;
    let backends = backends.as_array().map_or(&[][..], Vec::as_slice).iter();
    let backends: Vec<String> =
        backends.filter_map(|backend| Some(backend["id"].as_str()?.to_owned())).collect();
    let ranges = join(flat_ram(&command::text("info mtree -f", &tree)?, &backends));
    if ranges.is_empty() || ranges.len() > MAX_BLOCKS {
        let detail = format!("info mtree -f lists {} pieces of RAM", ranges.len());
        return Err(DomainError::protocol("QEMU", detail));
    }
    Ok(ranges)
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

/// The host address of each range by HMP `gpa2hva`. A memory region is
/// contiguous in QEMU, so its lowest and its highest byte are asked for.
fn host_addresses(qmp: &mut Qmp, ranges: &[FlatRange]) -> Result<Vec<u64>> {
    let mut ends: BTreeMap<&str, (&FlatRange, &FlatRange)> = BTreeMap::new();
    for range in ranges {
        let (first, last) = ends.entry(&range.region).or_insert((range, range));
        *first = std::cmp::min_by_key(*first, range, |range| range.offset);
        *last = std::cmp::max_by_key(*last, range, |range| range.offset);
    }
    let asked = ends.values().flat_map(|(first, last)| [first.guest_phys, last.last_byte()]);
    let commands: Vec<_> =
        asked.map(|phys| command::human(&format!("gpa2hva {phys:#x}"))).collect();
    let mut answers = Vec::with_capacity(commands.len());
    for answer in qmp.execute_all(&commands)? {
        let answer = command::text("gpa2hva", &answer?)?;
        let unexpected = || DomainError::protocol("gpa2hva", answer.trim());
        answers.push(parse_gpa2hva(&answer).ok_or_else(unexpected)?);
    }
    let mut bases = BTreeMap::new();
    for ((region, (first, last)), hosts) in ends.into_iter().zip(answers.chunks_exact(2)) {
        let span = last.offset - first.offset + (last.len - 1);
        if hosts[0].checked_add(span) != Some(hosts[1]) {
            let detail = format!("{region} is not contiguous in QEMU: {hosts:#x?}");
            return Err(DomainError::protocol("gpa2hva", detail));
        }
        bases.insert(region, hosts[0].wrapping_sub(first.offset));
    }
    let host = |range: &FlatRange| bases[range.region.as_str()].wrapping_add(range.offset);
    Ok(ranges.iter().map(host).collect())
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

/// The file behind `len` bytes at `host_virt`, which may lie in several mappings
/// (`mbind` and `madvise` split them) if they continue one another.
fn file_extent(maps: &[Mapping], host_virt: u64, len: u64) -> Option<Mapping> {
    let end = host_virt.checked_add(len)?;
    let first = maps.iter().find(|map| map.start <= host_virt && host_virt < map.end)?;
    let offset_of = |address: u64| first.offset.wrapping_add(address.wrapping_sub(first.start));
    let pieces = maps.iter().filter(|map| map.start < end && map.end > host_virt);
    let mut reached = host_virt;
    for piece in pieces {
        let continues = piece.start <= reached
            && piece.shared == first.shared
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
fn open_descriptor(pid: i32, extent: &Mapping) -> Result<Option<BackingFile>> {
    let dir = format!("/proc/{pid}/fd");
    let entries =
        fs::read_dir(&dir).map_err(|e| DomainError::io(format!("cannot read {dir}"), e))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if is_file(&path, extent).unwrap_or(false) {
            return Ok(Some(BackingFile { path, offset: extent.offset, shared: extent.shared }));
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
