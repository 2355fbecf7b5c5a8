//! `pstree.img`: which processes there are.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::proto;
use crate::snapshot::{Process, Snapshot, Zombie};

/// `pstree.img`
pub fn image(snapshot: &Snapshot) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Pstree);
    for (position, process) in snapshot.processes.iter().enumerate() {
        image.record(&entry(process, position == 0))?;
    }
    for zombie in &snapshot.zombies {
        image.record(&zombie_entry(zombie))?;
    }
    Ok(image.finish())
}

fn entry(process: &Process, is_root: bool) -> proto::PstreeEntry {
    proto::PstreeEntry {
        pid: process.pid,
        // The parent of the root stays behind: restore is the new one.
        ppid: if is_root { 0 } else { process.ppid },
        pgid: process.pgid,
        sid: process.sid,
        threads: process.threads.iter().map(|thread| thread.tid).collect(),
        has_terminal: process.has_terminal.then_some(true),
    }
}

/// Restore asks a zombie for no threads; CRIU writes one of any number.
fn zombie_entry(zombie: &Zombie) -> proto::PstreeEntry {
    proto::PstreeEntry {
        pid: zombie.pid,
        ppid: zombie.ppid,
        pgid: zombie.pgid,
        sid: zombie.sid,
        threads: vec![zombie.pid],
        has_terminal: None,
    }
}
