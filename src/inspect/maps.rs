//! A process's memory map: `/proc/PID/maps`.

use std::fmt;

use serde::Serialize;

use crate::kernel::KernelError;
use crate::linux::{Mm, Path, VmFlags, Vma};
use crate::memory::PAGE_SIZE;

/// Column of the name in `/proc/PID/maps` (`show_vma_header_prefix()`,
/// `fs/proc/task_mmu.c`: 25 + 6 words - 1).
const NAME_COLUMN: usize = 72;

/// A VMA. Its [`Display`](fmt::Display) is its line in `/proc/PID/maps`, with
/// control characters of the path escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// End, exclusive.
    pub end: u64,
    /// `rwx` and `s`hared or `p`rivate, as `r-xp`.
    pub permissions: String,
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Device of the file: major and minor number.
    pub device: (u32, u32),
    /// Inode of the file; 0 without a file.
    pub inode: u64,
    /// Path of the file, or a name such as `[heap]`; empty where it has none.
    pub name: String,
}

/// The VMAs of a process, with paths as seen from `root`. The page of legacy
/// system calls that `/proc` lists after them (`[vsyscall]`) is none.
pub(super) fn mappings(mm: &Mm<'_>, root: &Path<'_>) -> Result<Vec<Mapping>, KernelError> {
    let (brk, stack) = ((mm.start_brk()?, mm.brk()?), mm.start_stack()?);
    mm.vmas()?.iter().map(|vma| mapping(vma, brk, stack, root)).collect()
}

fn mapping(
    vma: &Vma<'_>,
    (start_brk, brk): (u64, u64),
    stack: u64,
    root: &Path<'_>,
) -> Result<Mapping, KernelError> {
    let (start, end, flags) = (vma.start()?, vma.end()?, vma.flags()?);
    let (mut offset, mut device, mut inode_number) = (0, (0, 0), 0);
    let name = if let Some(file) = vma.file()? {
        offset = vma.pgoff()?.wrapping_mul(PAGE_SIZE);
        if let Some(inode) = file.user_inode()? {
            inode_number = inode.ino()?;
            let dev = inode.sb()?.map_or(Ok(0), |sb| sb.dev())?;
            device = (dev >> 20, dev & 0xf_ffff);
        }
        String::from_utf8_lossy(&file.user_path()?.display(root)?).into_owned()
    } else if let Some(name) = vma.special_name()? {
        name
    } else if start <= brk && end >= start_brk {
        "[heap]".into()
    } else if start <= stack && end >= stack {
        "[stack]".into()
    } else {
        String::new()
    };
    let permissions = permissions(flags);
    Ok(Mapping { start, end, permissions, offset, device, inode: inode_number, name })
}

fn permissions(flags: VmFlags) -> String {
    let letter = |flag, set, unset| if flags.contains(flag) { set } else { unset };
    [
        letter(VmFlags::READ, 'r', '-'),
        letter(VmFlags::WRITE, 'w', '-'),
        letter(VmFlags::EXEC, 'x', '-'),
        letter(VmFlags::MAYSHARE, 's', 'p'),
    ]
    .iter()
    .collect()
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, permissions, offset, device: (major, minor), inode, name } = self;
        let head = format!(
            "{start:08x}-{end:08x} {permissions} {offset:08x} {major:02x}:{minor:02x} {inode} "
        );
        if name.is_empty() {
            return f.write_str(&head);
        }
        write!(f, "{head:<NAME_COLUMN$} ")?;
        for c in name.chars() {
            // A line break as the kernel shows it, and whatever else a terminal
            // would obey.
            if c.is_control() { write!(f, "\\{:03o}", u32::from(c))? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_in_proc() {
        let mapping = Mapping {
            start: 0x55f0_1c00_0000,
            end: 0x55f0_1c00_2000,
            permissions: "r-xp".into(),
            offset: 0x2000,
            device: (254, 1),
            inode: 1234,
            name: "/usr/bin/a\nb (deleted)".into(),
        };
        let line = mapping.to_string();
        assert_eq!(
            line,
            "55f01c000000-55f01c002000 r-xp 00002000 fe:01 1234                       \
             /usr/bin/a\\012b (deleted)"
        );
        assert_eq!(line.find('/'), Some(73));
        let anonymous = Mapping { name: String::new(), inode: 0, device: (0, 0), ..mapping };
        assert!(anonymous.to_string().ends_with(" 00002000 00:00 0 "));
    }

    #[test]
    fn permissions_are_four_letters() {
        assert_eq!(permissions(VmFlags::READ | VmFlags::EXEC), "r-xp");
        assert_eq!(permissions(VmFlags::WRITE | VmFlags::MAYSHARE), "-w-s");
    }
}
