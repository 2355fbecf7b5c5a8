//! Pipes, FIFOs and what they hold.

use std::collections::HashSet;

use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::proto::{FdTypes, FifoEntry, PipeDataEntry, PipeEntry};
use crate::criu::set::ImageSet;

pub fn check_pipe(id: u32, pipe: &PipeEntry, found: &mut ImageFindings<'_>) {
    found.require(pipe.id == id, "pipe.id", || format!("of file {id} is {}", pipe.id));
}

/// Restore opens a FIFO by a record that only this one refers to.
pub fn check_fifo(set: &ImageSet, id: u32, fifo: &FifoEntry, found: &mut ImageFindings<'_>) {
    found.require(fifo.id == id, "fifo.id", || format!("of file {id} is {}", fifo.id));
    let path = fifo.regf_id.and_then(|id| set.files.get(&id));
    let is_path = path.is_some_and(|path| path.r#type == FdTypes::Reg as i32);
    found.require(is_path, "fifo.regf_id", || format!("of file {id} is no path in files.img"));
}

/// What pipes hold: CRIU puts it into the pipe before anyone can read, and
/// fails where there is no room.
pub fn check_data(set: &ImageSet, findings: &mut Findings) {
    for (kind, data, open) in [
        (ImageKind::PipesData, &set.pipes_data, open_pipes(set)),
        (ImageKind::FifoData, &set.fifo_data, open_fifos(set)),
    ] {
        let mut found = findings.of(kind, 0, None);
        let mut ids = HashSet::new();
        for PipeDataEntry { pipe_id, bytes, size } in data {
            found.require(ids.insert(pipe_id), "pipe_id", || format!("{pipe_id} is not unique"));
            found.require(size.is_none_or(|size| *bytes <= size), "bytes", || {
                format!("of pipe {pipe_id} are {bytes}, more than it can hold")
            });
        }
        for lost in open.iter().filter(|id| !ids.contains(id)) {
            found.add("pipe_id", format!("{lost} is open for reading and has no record"));
        }
    }
}

/// Pipes that are open for reading: CRIU dumps what these hold, and restores
/// those without a record empty.
fn open_pipes(set: &ImageSet) -> Vec<u32> {
    let ends = set.files.values().filter_map(|file| file.pipe.as_ref());
    ends.filter(|end| is_read(end.flags)).map(|end| end.pipe_id).collect()
}

fn open_fifos(set: &ImageSet) -> Vec<u32> {
    let path = |fifo: &FifoEntry| set.files.get(&fifo.regf_id?)?.reg.as_ref();
    let ends = set.files.values().filter_map(|file| file.fifo.as_ref());
    ends.filter(|end| path(end).is_some_and(|path| is_read(path.flags)))
        .map(|end| end.pipe_id)
        .collect()
}

fn is_read(flags: u32) -> bool {
    const O_WRONLY: u32 = 1;
    flags & O_WRONLY == 0
}
