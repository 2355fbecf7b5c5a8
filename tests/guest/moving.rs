//! Pages that the guest's kernel moves while they are saved.

use std::fs;

use crate::harness::{Guest, Guests, Job, guests, kept, wait_for};

/// Places for a huge page, and the small pages that the program has in each.
const AREAS: u64 = 24;
const SMALL: u64 = 16;
const HUGE: u64 = 512;
const SAVES: usize = 12;

/// How many pages of its own a process has, which goes on: what goes out, and the
/// zeros that are left out.
fn saved(guests: &Guests, job: &Job<'_>) -> u64 {
    let report = wait_for("the kernel's thread is elsewhere", || {
        let run = guests.save(job.pid, &["--leave-running", "--json"]);
        // It holds shared memory for as long as it looks at it.
        let is_held = run.stderr.contains("that something else in the VM has a part in");
        (!is_held).then(|| run.json())
    });
    fs::remove_dir_all(guests.images()).unwrap();
    let bytes = |value: &serde_json::Value| value.as_u64().expect("a number");
    (bytes(&report["page_bytes"]) + bytes(&report["pages"]["zero"])) / 4096
}

#[test]
fn private_pages_are_whole_while_the_kernel_makes_huge_ones_of_them() {
    let became_huge = pages_are_whole_while_the_kernel_makes_huge_ones_of_them("private");
    assert!(became_huge, "the kernel has made no huge page");
    kept(&["memory that the kernel makes huge pages of meanwhile"]);
}

#[test]
fn shared_pages_are_whole_while_the_kernel_makes_huge_ones_of_them() {
    // 6.1 makes none of these; 5.10 and 7.2 do.
    pages_are_whole_while_the_kernel_makes_huge_ones_of_them("shared");
}

/// Returns whether it has made any.
fn pages_are_whole_while_the_kernel_makes_huge_ones_of_them(kind: &str) -> bool {
    let guests = guests();
    let khugepaged = Khugepaged::idle(&guests.source);
    let job = guests.start("scattered", &[&AREAS.to_string(), kind], "ready");
    let small = saved(&guests, &job);
    khugepaged.hurry();
    let counts: Vec<u64> = (0..SAVES).map(|_| saved(&guests, &job)).collect();
    // An area has all of its small pages or one huge page.
    let whole = |count: &u64| *count >= small && (count - small).is_multiple_of(HUGE - SMALL);
    assert!(counts.iter().all(whole), "{small} pages, then {counts:?}");
    khugepaged.rest();
    let restored = job.migrate(&guests, &[]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 lost\n"), "{said}");
    counts.iter().any(|&count| count > small)
}

/// The kernel's thread that makes huge pages, as it was when dropped.
struct Khugepaged<'g>(&'g Guest);

impl<'g> Khugepaged<'g> {
    /// Has it wait.
    fn idle(guest: &'g Guest) -> Self {
        let khugepaged = Self(guest);
        khugepaged.rest();
        khugepaged
    }

    fn rest(&self) {
        self.set("advise", 4096, 100_000);
    }

    /// Has it make one every now and then.
    fn hurry(&self) {
        self.set("advise", 512, 10);
    }

    fn set(&self, shmem: &str, pages_to_scan: u32, sleep: u32) {
        self.0.sh(&format!(
            "cd /sys/kernel/mm/transparent_hugepage; echo {shmem} >shmem_enabled; cd khugepaged; \
             echo {pages_to_scan} >pages_to_scan; echo 100 >alloc_sleep_millisecs; \
             echo {sleep} >scan_sleep_millisecs"
        ));
    }
}

impl Drop for Khugepaged<'_> {
    fn drop(&mut self) {
        self.set("never", 4096, 10_000);
    }
}
