//! Descriptors of processes, which CRIU has since 4.1.

use super::super::proto;
use super::owner;
use crate::snapshot::OpenFile;

/// What `pidfd_open()` gives without being asked.
const O_RDWR: u32 = 2;
/// The process of a descriptor that outlived it.
const GONE: i32 = -1;

/// A descriptor of a process. Of one that is gone restore makes another with
/// the same inode number, and kills it.
pub fn entry(file: &OpenFile, id: u32, process: Option<u32>, ino: u64) -> proto::PidfdEntry {
    proto::PidfdEntry {
        id,
        // CRIU reads as much of it (`parse_fdinfo()`, `criu/proc_parse.c`).
        ino: ino as u32,
        flags: file.flags & !O_RDWR,
        nspid: process.map_or(GONE, u32::cast_signed),
        fown: owner(file.owner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::proto::FdTypes;
    use crate::criu::{CheckOptions, check, sample};
    use crate::snapshot::{Descriptor, FileOwner, Id, OpenFileKind};

    #[test]
    fn a_process_is_told_by_its_number_or_is_gone() {
        let mut snapshot = sample::snapshot();
        let mut table = snapshot.fd_tables.get(Id::new(0)).expect("a table").clone();
        for (fd, flags, process) in [(20, 0o2, Some(100)), (21, 0o4002, None)] {
            let kind = OpenFileKind::Pidfd { process, ino: 1 << 40 | 7 };
            let owner = FileOwner::default();
            let file = snapshot.files.push(OpenFile { flags, owner, kind });
            table.descriptors.push(Descriptor { fd, cloexec: true, file });
        }
        snapshot.processes[0].files = snapshot.fd_tables.push(table);
        let set = check(&sample::image_set_of(&snapshot), CheckOptions::default()).expect("a set");
        let entries: Vec<_> = set.files.values().filter_map(|file| file.pidfd).collect();
        let told = entries.iter().map(|pidfd| (pidfd.flags, pidfd.nspid, pidfd.ino));
        assert_eq!(told.collect::<Vec<_>>(), [(0, 100, 7), (0o4000, -1, 7)]);
        let of_type = |fd: &&crate::criu::proto::FdinfoEntry| fd.r#type == FdTypes::Pidfd as i32;
        let fds = set.processes[0].fdinfo.iter().filter(of_type).map(|entry| entry.fd);
        assert_eq!(fds.collect::<Vec<_>>(), [20, 21]);
        let needs: Vec<_> = set.needs().into_iter().map(|need| need.what).collect();
        assert_eq!(needs, ["a pidfd"]);
    }
}
