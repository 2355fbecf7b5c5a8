//! How pages are written.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Job, guests, kept};

const FILE: &str = "/var/tmp/ovmigrate-tests/patches.file";

/// What a save may be told of the host. All write the same.
const WAYS: [&[&str]; 5] = [
    &["--jobs", "4"],
    &["--jobs", "1", "--direct", "off", "--no-sync"],
    &["--jobs", "3", "--memory-limit", "1M"],
    &["--rate-limit", "64M"],
    &["--nice", "19", "--cpus", "0-63", "--jobs", "1"],
];

#[test]
fn pages_of_zeros_stay_behind_and_the_others_are_written_alike_in_all_ways() {
    let guests = guests();
    let job = guests.start("patches", &["48", FILE], "ready");
    let mut first = None;
    for way in WAYS {
        let report = guests.save(job.pid, &[way, &["--leave-running", "--json"]].concat()).json();
        let pages = fs::read(Path::new(&guests.images()).join("pages-1.img")).unwrap();
        fs::remove_dir_all(guests.images()).unwrap();
        assert_eq!(report["page_bytes"], pages.len(), "{report:#}");
        // Three of four pages were touched, one of those three with zeros.
        let zero = report["pages"]["zero"].as_u64().expect("a number") as usize;
        assert!((8 << 20..16 << 20).contains(&zero), "{report:#}");
        assert!((20 << 20..28 << 20).contains(&pages.len()), "{report:#}");
        match &first {
            None => first = Some(pages),
            Some(first) => assert!(*first == pages, "{way:?} writes something else"),
        }
    }
    let restored = job.migrate(&guests, &[FILE]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 lost\n"), "{said}");
    kept(&["pages of zeros, left out, and zeros written over a file"]);
}

#[test]
fn compressed_pages_are_those_that_are_not_and_are_restored() {
    let guests = guests();
    let images = guests.images();
    let pages = Path::new(&images).join("pages-1.img");
    let job = guests.start("patches", &["48", FILE], "ready");
    let plain = {
        guests.save(job.pid, &["--leave-running"]).stdout();
        let pages = fs::read(&pages).unwrap();
        fs::remove_dir_all(&images).unwrap();
        pages
    };
    for (way, suffix, more) in [("lz4", "lz4", "--leave-running"), ("zstd", "zst", "--jobs=3")] {
        let report = guests.save(job.pid, &["--compress", way, "--json", more]).json();
        assert_eq!(report["page_bytes"], plain.len(), "{report:#}");
        let packed = pages.with_extension(format!("img.{suffix}"));
        let size = fs::metadata(&packed).unwrap().len();
        assert!(size < plain.len() as u64 * 3 / 4, "{way}: {size} of {}", plain.len());
        // What criu restore itself would be given.
        let unpacked = Command::new(way).args(["-d", "-c", "-q"]).arg(&packed).output().unwrap();
        assert!(unpacked.status.success() && unpacked.stdout == plain, "{way} unpacks another");
        if more == "--leave-running" {
            fs::remove_dir_all(&images).unwrap();
        }
    }
    guests.copy(&[FILE, &job.log]);
    let restored = guests.restore_by(&["--json"]).json();
    assert_eq!(restored["way"], "port", "{restored:#}");
    guests.destination.adopt(job.pid);
    let said = Job { guest: &guests.destination, pid: job.pid, log: job.log.clone() }.ask();
    assert!(said.ends_with("done, 0 lost\n"), "{said}");
    kept(&["pages that were compressed on their way (lz4, zstd)"]);
}
