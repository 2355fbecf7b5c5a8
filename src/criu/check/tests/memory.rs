//! Address spaces and pages.

use super::*;

fn mm(set: &mut Set, f: impl Fn(&mut MmEntry)) {
    change(set, ImageKind::Mm, 100, |entries| f(&mut entries[0]));
}

/// Areas of the sample: code, data, heap, stack, vvar, vdso.
fn vmas(set: &mut Set, f: impl Fn(&mut Vec<VmaEntry>)) {
    mm(set, |mm| f(&mut mm.vmas));
}

/// Entries behind the pagemap's head: data, heap, stack, vdso.
fn pagemap(set: &mut Set, f: impl Fn(&mut Vec<PagemapEntry>)) {
    change_pagemap(set, ImageKind::Pagemap, 100, f);
}

/// The same with a guard page in the stack.
fn guard(set: &mut Set, f: impl Fn(&mut Vec<VmaEntry>)) {
    vmas(set, |vmas| {
        vmas.push(vma::guard(PageRange { start: vmas[3].start, count: 1 }));
        f(vmas);
    });
}

/// The same with a ring of asynchronous I/O.
fn ring(set: &mut Set, f: impl Fn(&mut MmEntry)) {
    mm(set, |mm| {
        let start = mm.vmas[3].start - 0x10000;
        let area = VmaEntry {
            start,
            end: start + 4096,
            prot: 3,
            flags: vma::map::SHARED,
            status: status::AIO_RING,
            fd: -1,
            ..VmaEntry::default()
        };
        mm.vmas.insert(3, area);
        mm.aios.push(AioRingEntry { id: start, nr_req: 62, ring_len: 4096 });
        f(mm);
    });
}

#[test]
fn rings_are_in_their_areas() {
    let mut set = sample::image_set();
    ring(&mut set, |_| {});
    check(&set, CheckOptions::default()).expect("a good set");
    assert_found(&[
        (|s| ring(s, |m| m.aios.clear()), "mm-100.img", "aios"),
        (|s| ring(s, |m| m.aios[0].id += 4096), "mm-100.img", "aios"),
        (|s| ring(s, |m| m.vmas[3].end += 4096), "mm-100.img", "aios"),
        (|s| ring(s, |m| m.aios[0].nr_req = 63), "mm-100.img", "aios.nr_req"),
    ]);
}

#[test]
fn guard_pages_pass() {
    let mut set = sample::image_set();
    guard(&mut set, |_| {});
    check(&set, CheckOptions::default()).expect("a good set");
}

#[test]
fn mistakes_in_address_spaces_are_found() {
    let image = "mm-100.img";
    assert_found(&[
        (|s| mm(s, |m| m.mm_start_code = 0), image, "mm_start_code"),
        (|s| mm(s, |m| m.mm_env_end = 1 << 47), image, "mm_env_end"),
        (|s| mm(s, |m| m.mm_brk = m.mm_start_brk - 1), image, "mm_brk"),
        (|s| mm(s, |m| m.mm_saved_auxv = vec![0; 45]), image, "mm_saved_auxv"),
        (|s| mm(s, |m| m.exe_file_id = 999), image, "exe_file_id"),
        (|s| vmas(s, |v| v.swap(1, 2)), image, "vmas"),
        (|s| vmas(s, |v| v[0].end += 4096 * 2), image, "vmas"),
        (|s| vmas(s, |v| v[2].end = v[2].start), image, "vmas"),
        (|s| vmas(s, |v| v[0].pgoff = 1), image, "vmas"),
        (|s| vmas(s, |v| v[0].shmid = 999), image, "vmas"),
        (|s| vmas(s, |v| v[0].flags = 1), image, "vmas"),
        (|s| vmas(s, |v| v[2].flags = 2), image, "vmas"),
        (|s| vmas(s, |v| v[2].prot = 8), image, "vmas"),
        (|s| vmas(s, |v| v[2].status |= 1 << 6), image, "vmas"),
        (|s| vmas(s, |v| v.retain(|vma| vma.status & status::VVAR == 0)), image, "vmas"),
        (|s| vmas(s, |v| v[3].status |= 1 << 12), image, "vmas"),
        (|s| vmas(s, |v| v.retain(|vma| vma.status & status::VDSO == 0)), image, "vmas"),
        (|s| vmas(s, |v| v[5].end = 1 << 47), image, "vmas"),
        // Huge pages of no size, and two small ones that cannot be huge.
        (|s| vmas(s, |v| v[2].flags |= vma::map::HUGETLB), image, "vmas"),
        (|s| vmas(s, |v| v[2].flags |= vma::map::HUGETLB | 21 << 26), image, "vmas"),
        (|s| guard(s, |v| v[6].start = v[6].end), image, "vmas"),
        (|s| guard(s, |v| v[6].end += 3 * 4096), image, "vmas"),
        (|s| guard(s, |v| v[6].end -= 1), image, "vmas"),
        (|s| guard(s, |v| v.swap(5, 6)), image, "vmas"),
    ]);
}

#[test]
fn mistakes_in_pages_are_found() {
    let image = "pagemap-100.img";
    assert_found(&[
        (|s| pagemap(s, |p| p.swap(0, 1)), image, "vaddr"),
        (|s| pagemap(s, |p| p[0].vaddr += 1), image, "vaddr"),
        // The vvar pages, no area, and past the end of an area.
        (|s| pagemap(s, |p| p[2].vaddr = 0x7ffc_1000_0000), image, "vaddr"),
        (|s| pagemap(s, |p| p[0].vaddr = 0x10_0000), image, "vaddr"),
        (|s| pagemap(s, |p| p[1].compat_nr_pages = 3), image, "vaddr"),
        // Most of a pagemap as versions from 4.2 on write it.
        (
            |s| pagemap(s, |p| (p[1].compat_nr_pages, p[1].nr_pages) = (0, Some(2))),
            image,
            "nr_pages",
        ),
        (|s| pagemap(s, |p| p[0].flags = Some(5)), image, "flags"),
        (|s| pagemap(s, |p| p[0].flags = Some(2)), image, "flags"),
        (|s| pagemap(s, |p| (p[0].flags, p[0].in_parent) = (None, Some(true))), image, "flags"),
        (|s| pagemap(s, |p| p[3].compat_nr_pages -= 1), image, "vaddr"),
        (|s| pagemap(s, |p| p[1].compat_nr_pages = 1), "pages-1.img", ""),
        (|s| s.get_mut("pages-1.img").expect("pages").extend([0; 4096]), "pages-1.img", ""),
        (|s| s.get_mut("pages-1.img").expect("pages").fill(0), "pages-1.img", "vdso"),
    ]);
}
