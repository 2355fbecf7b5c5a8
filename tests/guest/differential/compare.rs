//! Two image sets of the same process, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::decoded::Decoded;

/// Who has a field that is not the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum In {
    /// With different values.
    Both,
    Ours,
    Theirs,
}

/// Kinds of fields that differ, as paths without indices and PIDs, each with one
/// example.
pub type Differences = BTreeMap<(String, In), String>;

/// Images that are compared by what they mean: see `cgroups` and `cpu`.
const APART: [&str; 2] = ["cgroup.img", "cpuinfo.img"];

/// Clocks, what is left on timers and how often they fired: time goes by between
/// the two, and CRIU has the process use some of its own.
const MOVING: [&str; 6] = [".vsec", ".vusec", ".vnsec", ".overrun", ".tv_sec", ".tv_nsec"];

/// Makes the same what differs by value alone, so that no kind of field can tell it
/// from others.
pub fn level(ours: &mut Decoded, theirs: &mut Decoded) {
    for images in [&mut *ours, &mut *theirs] {
        blank_what_kernel_registers(images);
        blank_timer_counts(images);
    }
    interrupt_calls_that_go_on(ours, theirs);
    drop_signals_without_entry(ours);
    drop_absent_privileges(ours);
    drop_tmpfile_flags(theirs);
}

/// `core-123.img[0].tc.rlimits[3]` as `core.img.tc.rlimits`.
fn kind(path: &str) -> String {
    let mut kind = String::new();
    let mut in_index = false;
    let (image, field) = path.split_once(".img").expect("a path begins with an image");
    kind.push_str(image.split('-').next().unwrap_or(image));
    for letter in field.chars() {
        match letter {
            '[' => in_index = true,
            ']' => in_index = false,
            letter if !in_index => kind.push(letter),
            _ => {}
        }
    }
    kind
}

/// Fields that differ.
pub fn differing(ours: &Decoded, theirs: &Decoded) -> Differences {
    let paths: BTreeSet<&String> = ours.fields.keys().chain(theirs.fields.keys()).collect();
    let is_compared = |path: &str| {
        !MOVING.iter().any(|field| path.ends_with(field))
            && !APART.iter().any(|image| path.starts_with(image))
    };
    let mut all = Differences::new();
    for path in paths.into_iter().filter(|path| is_compared(path)) {
        let (side, values) = match (ours.fields.get(path), theirs.fields.get(path)) {
            (Some(ours), Some(theirs)) if ours == theirs => continue,
            (Some(ours), Some(theirs)) => (In::Both, format!("ovmigrate {ours}, criu {theirs}")),
            (Some(ours), None) => (In::Ours, ours.clone()),
            (None, theirs) => (In::Theirs, theirs.cloned().unwrap_or_default()),
        };
        all.entry((kind(path), side)).or_insert(format!("{path}: {values}"));
    }
    all
}

/// A number in an image, such as `U32(7)`.
fn number(value: &str) -> u64 {
    let digits = value.split_once('(').expect("a type and a number").1.trim_end_matches(')');
    digits.parse().expect("a number")
}

/// Areas whose pages may be lost at any time: CRIU 4.1 takes them for others.
fn droppable_areas(images: &Decoded) -> Vec<Range<u64>> {
    const MAP_DROPPABLE: u64 = 0x8;
    let flags = images.fields.iter().filter_map(|(path, value)| {
        let area = path.strip_suffix(".flags").filter(|area| area.contains(".vmas["))?;
        Some((area, number(value)))
    });
    let end = |area: &str, end: &str| number(&images.fields[&format!("{area}.{end}")]);
    flags
        .filter(|(_, flags)| flags & MAP_DROPPABLE != 0)
        .map(|(area, _)| end(area, "start")..end(area, "end"))
        .collect()
}

/// Pages that are not the same, but for those that one of both left out since
/// they are zero or may be lost, and the first one of the program's code: CRIU
/// has the process make its system calls there and so gives it a copy of its own.
pub fn differing_pages(ours: &Decoded, theirs: &Decoded, code: u64) -> Vec<String> {
    let zero = vec![0; 4096];
    let droppable = droppable_areas(ours);
    let addresses: BTreeSet<u64> = ours.pages.keys().chain(theirs.pages.keys()).copied().collect();
    addresses
        .into_iter()
        .filter(|at| ours.pages.get(at).unwrap_or(&zero) != theirs.pages.get(at).unwrap_or(&zero))
        .filter(|at| *at != code || ours.pages.contains_key(at))
        .filter(|at| !droppable.iter().any(|area| area.contains(at)))
        .map(|at| {
            let [one, other] = [ours, theirs].map(|images| images.pages.get(&at));
            let bytes = one.unwrap_or(&zero).iter().zip(other.unwrap_or(&zero));
            let first = bytes.take_while(|(one, other)| one == other).count();
            let place = (one.is_some(), other.is_some());
            format!("{at:#x}: in (ovmigrate, criu): {place:?}, from byte {first:#x} on")
        })
        .collect()
}

/// Blanks what the kernel writes into `struct rseq` when a thread moves to
/// another CPU: `cpu_id_start` and `cpu_id`, and since 6.3 `node_id` and `mm_cid`.
/// And `rseq_cs`, which it clears when a thread is preempted outside of the sequence,
/// as where CRIU has it work for the dump.
fn blank_what_kernel_registers(images: &mut Decoded) {
    for (path, value) in &images.fields {
        if path.ends_with(".rseq_entry.rseq_abi_pointer") {
            let rseq = number(value);
            if let Some(page) = images.pages.get_mut(&(rseq & !0xfff)) {
                let at = (rseq & 0xfff) as usize;
                page[at..at + 16].fill(0);
                page[at + 20..at + 28].fill(0);
            }
        }
    }
}

/// Gives calls that are to go on with the time they have left the registers of
/// the `EINTR` that CRIU ends them with.
fn interrupt_calls_that_go_on(ours: &mut Decoded, theirs: &Decoded) {
    const EINTR: u64 = (-4_i64).cast_unsigned();
    /// `poll`, `nanosleep`, `futex`, `clock_nanosleep`
    const CALLS: [u64; 4] = [7, 35, 202, 230];
    for (path, ended) in theirs.fields.iter().filter(|(path, _)| path.ends_with(".gpregs.ax")) {
        let of = |images: &Decoded, name: &str| {
            let field = format!("{}{name}", path.strip_suffix("ax").expect("it is its end"));
            images.fields.get(&field).map_or(0, |value| number(value))
        };
        let made_again = CALLS.contains(&of(ours, "ax")) && of(ours, "ip") + 2 == of(theirs, "ip");
        if number(ended) == EINTR && made_again {
            for name in ["ax", "ip", "di", "si", "dx", "r10"] {
                let field = format!("{}{name}", path.strip_suffix("ax").expect("it is its end"));
                ours.fields.insert(field.clone(), theirs.fields[&field].clone());
            }
        }
    }
}

/// Drops `O_TMPFILE`, with which CRIU's own images have a file made anew instead
/// of the deleted one opened.
fn drop_tmpfile_flags(theirs: &mut Decoded) {
    const O_TMPFILE: u64 = 0o20_200_000;
    for (path, flags) in &mut theirs.fields {
        if path.ends_with(".reg.flags") && number(flags) & O_TMPFILE == O_TMPFILE {
            *flags = format!("U32({})", number(flags) & !O_TMPFILE);
        }
    }
}

/// Drops pending signals of which the kernel keeps the number alone: CRIU does
/// not find those in the queue, and loses them.
fn drop_signals_without_entry(ours: &mut Decoded) {
    let without_entry = |info: &str| info[8..].bytes().all(|digit| digit == b'0');
    ours.fields.retain(|path, info| !path.ends_with(".siginfo") || !without_entry(info));
}

/// Drops `no_new_privs` where it is not set, of which CRIU 4 says nothing.
fn drop_absent_privileges(ours: &mut Decoded) {
    ours.fields.retain(|path, value| !path.ends_with(".no_new_privs") || number(value) != 0);
}

/// Blanks in pending signals of timers what is not there yet: how often the
/// timer fired without a signal is told by the kernel when the signal is taken,
/// which goes by a number of its own behind the value.
fn blank_timer_counts(images: &mut Decoded) {
    const SI_TIMER: &str = "feffffff";
    for (path, info) in &mut images.fields {
        if path.ends_with(".siginfo") && &info[16..24] == SI_TIMER {
            info.replace_range(40..48, "--------");
            info.replace_range(64..72, "--------");
        }
    }
}
