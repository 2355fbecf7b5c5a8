//! Sets that were made to use up the host's memory or time.

use std::cell::RefCell;
use std::io;

use super::*;
use crate::criu::{ImageContent, ImageStore};

fn pstree(set: &mut Set, f: impl Fn(&mut Vec<PstreeEntry>)) {
    change(set, ImageKind::Pstree, 0, f);
}

fn within(set: &Set, weight: u64) -> Result<ImageSet, CheckError> {
    check_within(set, CheckOptions::default(), Budget::of(weight))
}

/// What the records of a good set weigh.
fn weight(set: &Set) -> u64 {
    let (mut too_little, mut enough) = (0, 1 << 30);
    while enough - too_little > 1 {
        let between = u64::midpoint(too_little, enough);
        *(if within(set, between).is_ok() { &mut enough } else { &mut too_little }) = between;
    }
    enough
}

#[test]
fn no_process_and_no_thread_is_read_twice() {
    let tree = sample::image_set_of(&sample::tree());
    assert_found_in(
        &tree,
        &[
            (|s| pstree(s, |p| p.push(p[0].clone())), "pstree.img", "pid"),
            (|s| pstree(s, |p| p.push(p[4].clone())), "pstree.img", "pid"),
            (|s| pstree(s, |p| p[1].pid = 101), "pstree.img", "pid"),
            (|s| pstree(s, |p| p[0].threads.push(101)), "pstree.img", "threads"),
            (|s| pstree(s, |p| p[0].threads.push(100)), "pstree.img", "threads"),
            (|s| pstree(s, |p| p[1].threads.push(101)), "pstree.img", "threads"),
            (|s| pstree(s, |p| p[1].threads.push(100)), "pstree.img", "threads"),
        ],
    );
}

/// The image that is told to be too much for a weight, and nothing else.
fn too_much(set: &Set, weight: u64) -> String {
    let error = within(set, weight).expect_err("too much");
    assert_eq!(error.violations.len(), 1, "{error}");
    let Violation { image, problem, .. } = &error.violations[0];
    assert!(problem.contains("too much memory"), "{problem}");
    image.clone()
}

#[test]
fn a_set_is_read_as_far_as_it_may_weigh() {
    let set = sample::image_set_of(&sample::tree());
    let enough = weight(&set);
    assert_eq!(within(&set, enough), check(&set, CheckOptions::default()));
    assert_eq!(too_much(&set, 0), "inventory.img");
    assert_eq!(too_much(&set, enough - 1), "core-130.img", "the last one that is read");
}

#[test]
fn a_few_bytes_that_stand_for_much_are_too_much() {
    let set = sample::image_set();
    let enough = weight(&set);
    // Files without anything.
    let mut files = set.clone();
    files.get_mut("files.img").expect("the image").extend([0; 4 * 100]);
    assert_eq!(too_much(&files, enough + 100_000), "files.img");
    // Areas without anything.
    let areas = [0x72, 0].repeat(1000);
    let mut image = ImageWriter::new(ImageKind::Mm).finish();
    image.extend((areas.len() as u32).to_le_bytes());
    image.extend(areas);
    let mut mm = set.clone();
    mm.insert("mm-100.img".into(), image);
    assert_eq!(too_much(&mm, enough + 100_000), "mm-100.img");
}

#[test]
fn a_descriptor_table_counts_for_each_process_that_has_it() {
    let good = sample::image_set_of(&sample::tree());
    let decoded = check(&good, CheckOptions::default()).expect("a good set");
    let tables = decoded.processes.iter().map(|process| process.ids.files_id);
    let entry = FdinfoEntry { fd: 900, ..decoded.processes[0].fdinfo[0] };
    let more = |table: u32| {
        let mut set = good.clone();
        change(&mut set, ImageKind::Fdinfo, table, |entries| entries.push(entry));
        weight(&set) - weight(&good)
    };
    // The first two processes have the same one, the third one its own.
    let more: Vec<_> = tables.take(3).map(more).collect();
    assert!(more[2] > 0);
    assert_eq!(more[..2], [2 * more[2]; 2]);
}

/// Notes what is opened.
struct Noted(Set, RefCell<Vec<String>>);

impl ImageStore for Noted {
    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        self.0.size(name)
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn ImageContent + '_>>> {
        self.1.borrow_mut().push(name.to_owned());
        self.0.open(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(name, offset, buffer)
    }
}

#[test]
fn nothing_is_read_once_enough_was_found() {
    let mut set = sample::image_set();
    pstree(&mut set, |entries| {
        entries.extend((1000..9000).map(|pid| PstreeEntry { pid, ..PstreeEntry::default() }));
    });
    let set = Noted(set, RefCell::default());
    let error = check(&set, CheckOptions::default()).expect_err("processes without images");
    assert_eq!(error.violations.len(), 100);
    let opened = set.1.into_inner().len();
    assert!(opened < 200, "{opened} images were opened");
}

#[test]
fn pages_are_not_looked_at_once_enough_was_found() {
    let mut set = sample::image_set();
    change(&mut set, ImageKind::Pstree, 0, |entries: &mut Vec<PstreeEntry>| {
        entries[0].threads.extend(7_000_000..7_000_200);
    });
    let core = set["core-101.img"].clone();
    set.extend((7_000_000..7_000_200).map(|tid| (ImageKind::Core.file_name(tid), core.clone())));
    let set = Noted(set, RefCell::default());
    let error = check(&set, CheckOptions::default()).expect_err("no such threads");
    assert_eq!(error.violations.len(), 100);
    assert!(error.violations.iter().all(|found| found.image == "pstree.img"), "{error}");
    let opened = set.1.into_inner();
    assert!(!opened.iter().any(|name| name.starts_with("pagemap")), "{opened:?}");
}
