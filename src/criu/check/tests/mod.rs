//! A good set passes, and each rule finds its mistake.

mod cgroups;
mod cores;
mod files;
mod harmful;
mod memory;
mod named_sockets;
mod raw_sockets;
mod several;
mod shared_memory;
mod sockets;
mod terminals;
mod tree;

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::criu::container::{ImageKind, ImageReader, ImageWriter};
use crate::criu::proto::*;
use crate::criu::sample;
use crate::criu::vma::{self, status};
use crate::snapshot::{Id, PageRange};

type Set = BTreeMap<String, Vec<u8>>;

/// Changes the records of an image.
fn change<M: Message + Default>(
    set: &mut Set,
    kind: ImageKind,
    id: u32,
    f: impl FnOnce(&mut Vec<M>),
) {
    let bytes = set.get_mut(&kind.file_name(id)).expect("the image");
    let reader = ImageReader::new(kind, bytes.as_slice()).expect("an image");
    let mut records = reader.records().collect::<Result<Vec<M>, _>>().expect("records");
    f(&mut records);
    let mut image = ImageWriter::new(kind);
    for record in &records {
        image.record(record).expect("a record");
    }
    *bytes = image.finish();
}

/// Changes the entries behind the head of a pagemap.
fn change_pagemap(set: &mut Set, kind: ImageKind, id: u32, f: impl Fn(&mut Vec<PagemapEntry>)) {
    let bytes = set.get_mut(&kind.file_name(id)).expect("pagemap");
    let mut reader = ImageReader::new(kind, bytes.as_slice()).expect("pagemap");
    let head: PagemapHead = reader.next_record().expect("a record").expect("a head");
    let mut entries = reader.records().collect::<Result<Vec<_>, _>>().expect("records");
    f(&mut entries);
    let mut image = ImageWriter::new(kind);
    image.record(&head).expect("a record");
    for entry in &entries {
        image.record(entry).expect("a record");
    }
    *bytes = image.finish();
}

/// Mistakes of one room: what is done, and in which image and field it shows.
type Mistake = (fn(&mut Set), &'static str, &'static str);

fn assert_found(mistakes: &[Mistake]) {
    assert_found_in(&sample::image_set(), mistakes);
}

fn assert_found_in(good: &Set, mistakes: &[Mistake]) {
    for (position, (make, image, field)) in mistakes.iter().enumerate() {
        let mut set = good.clone();
        make(&mut set);
        let error = check(&set, CheckOptions::default())
            .expect_err(&format!("mistake {position} in {field} of {image}"));
        assert!(
            error.violations.iter().any(|found| found.image == *image && found.field == *field),
            "mistake {position} in {field} of {image}: {error}"
        );
    }
}

#[test]
fn a_good_set_passes_and_comes_back_decoded() {
    let set = check(&sample::image_set(), CheckOptions::default()).expect("a good set");
    let process = &set.processes[0];
    assert_eq!(process.pstree.threads, [100, 101]);
    assert_eq!(process.fdinfo.len(), 9);
    assert_eq!(process.mm.vmas.len(), 6);
    let names: Vec<&[u8]> =
        set.files.values().filter_map(|file| Some(file.reg.as_ref()?.name.as_slice())).collect();
    assert_eq!(
        names,
        [
            &b"/usr/bin/counter"[..],
            b"/dev/null",
            b"/run/fifo",
            b"/tmp/deleted",
            b"/tmp/deleted",
            b"/tmp/gone",
            b"/",
            b"/"
        ]
    );
    // The FIFO has its inode's number on another file system than the pipe.
    let data: Vec<_> = [&set.pipes_data, &set.fifo_data].into_iter().flatten().collect();
    assert_eq!(
        data.iter().map(|data| (data.bytes, data.size)).collect::<Vec<_>>(),
        [(9, Some(65536)), (0, Some(4096))]
    );
    assert_ne!(data[0].pipe_id, data[1].pipe_id);
    let task = process.leader().and_then(|core| core.tc.as_ref()).expect("tc");
    let real = task.timers.as_ref().expect("timers").real;
    assert_eq!((real.vsec, real.vusec, real.isec, real.iusec), (1, 500_000, 2, 500_000));
}

/// Images that restore does without, and that nothing else tells of.
const OPTIONAL: [&str; 5] =
    ["cpuinfo.img", "seccomp.img", "timens-0.img", "filelocks.img", "remap-fpath.img"];

#[test]
fn any_image_that_is_missing_or_cut_is_told() {
    let good = sample::image_set();
    for name in good.keys().filter(|name| !OPTIONAL.contains(&name.as_str())) {
        let mut set = good.clone();
        set.remove(name);
        let error = check(&set, CheckOptions::default()).expect_err(name);
        assert!(error.violations.iter().any(|found| found.image == *name), "{name}: {error}");
    }
    for (name, bytes) in &good {
        let mut set = good.clone();
        set.insert(name.clone(), bytes[..bytes.len() - 1].to_vec());
        let error = check(&set, CheckOptions::default()).expect_err(name);
        assert!(error.violations.iter().any(|found| found.image == *name), "{name}: {error}");
    }
}

#[test]
fn mistakes_are_told_on_one_line() {
    let mut set = sample::image_set();
    cores::fpregs(&mut set, |regs| regs.mxcsr = u32::MAX);
    let error = check(&set, CheckOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "images cannot be restored: core-100.img of process 100: thread_info.fpregs.mxcsr \
         0xffffffff has reserved bits, those not in 0xffff"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Any bytes may be anything: a set passes or is refused.
    #[test]
    fn damaged_sets_are_refused_or_pass(
        image in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        kept in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut set = sample::image_set();
        let name = image.get(&set.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = set.get_mut(&name).expect("the image");
        for (position, byte) in changes {
            *position.get_mut(bytes) = byte;
        }
        if let Some(kept) = kept {
            bytes.truncate(kept.index(bytes.len()));
        }
        let _ = check(&set, CheckOptions::default());
    }

    /// The vdso's bytes are the guest's own, and go to an ELF parser.
    #[test]
    fn a_damaged_vdso_is_refused_or_passes(
        changes in prop::collection::vec((0..8192_usize, any::<u8>()), 1..8),
    ) {
        let mut set = sample::image_set();
        let pages = set.get_mut("pages-1.img").expect("pages");
        let vdso = pages.len() - sample::vdso().len();
        for (position, byte) in changes {
            // Mostly the headers, where an error leads further.
            let position = vdso + if position % 2 == 0 { position % 0x400 } else { position };
            if let Some(place) = pages.get_mut(position) {
                *place = byte;
            }
        }
        let _ = check(&set, CheckOptions::default());
    }
}
