//! Memory that processes share.

use super::*;

fn good() -> Set {
    sample::image_set_of(&sample::sharing())
}

fn inode(set: &mut Set, f: impl Fn(&mut MemfdInodeEntry)) {
    change(set, ImageKind::Memfd, 0, |inodes| f(&mut inodes[0]));
}

/// The record of what is open.
fn open(set: &mut Set, f: impl Fn(&mut FileEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        let is_open = |file: &&mut FileEntry| file.memfd.as_ref().is_some_and(|f| f.pos == 17);
        f(files.iter_mut().find(is_open).expect("memory that is open"));
    });
}

/// The area that maps it.
fn area(set: &mut Set, f: impl Fn(&mut VmaEntry)) {
    change(set, ImageKind::Mm, 100, |mms: &mut Vec<MmEntry>| f(&mut mms[0].vmas[6]));
}

fn pagemap(set: &mut Set, f: impl Fn(&mut Vec<PagemapEntry>)) {
    change_pagemap(set, ImageKind::PagemapShmem, 1, f);
}

#[test]
fn memory_that_is_open_and_mapped_passes() {
    let set = check(&good(), CheckOptions::default()).expect("a good set");
    let memory = &set.memories[&1];
    assert_eq!((memory.name.as_slice(), memory.size), (b"queue".as_slice(), 4 * 4096 - 96));
    let area = &set.processes[0].mm.vmas[6];
    // As CRIU writes them: regular, a shared file, memory without a path.
    assert_eq!((area.status, area.flags, area.pgoff), (0x4081, 1, 4096));
    assert_eq!(set.files[&(area.shmid as u32)].r#type, FdTypes::Memfd as i32);
}

#[test]
fn memory_of_huge_pages_is_told_by_its_flags() {
    let mut snapshot = sample::sharing();
    let memory = snapshot.memories.get_mut(Id::new(0)).expect("the memory");
    (memory.huge_page_bits, memory.size) = (Some(21), 4 << 20);
    let mms: Vec<_> = snapshot.mms.iter().map(|(id, _)| id).collect();
    let mm = snapshot.mms.get_mut(mms[0]).expect("an mm");
    let area = mm.vmas.last_mut().expect("the area that maps it");
    (area.huge_page_bits, area.offset, area.end) = (Some(21), 2 << 20, area.start + (2 << 20));
    let set = check(&sample::image_set_of(&snapshot), CheckOptions::default()).expect("a good set");
    // MAP_HUGE_2MB with MAP_HUGETLB and MFD_HUGETLB
    assert_eq!(set.processes[0].mm.vmas[6].flags, 1 | 0x40000 | 21 << 26);
    assert_eq!(set.memories[&1].hugetlb_flag, Some(4 | 21 << 26));
}

#[test]
fn memory_without_bytes_needs_no_pages() {
    let mut set = good();
    inode(&mut set, |inode| inode.size = 0);
    set.remove("pagemap-shmem-1.img").expect("a pagemap");
    set.remove("pages-2.img").expect("pages");
    check(&set, CheckOptions::default()).expect("a good set");
}

#[test]
fn mistakes_in_shared_memory_are_found() {
    let (memfd, pagemap_image) = ("memfd.img", "pagemap-shmem-1.img");
    assert_found_in(
        &good(),
        &[
            (|s| inode(s, |i| i.name = vec![b'x'; 250]), memfd, "name"),
            (|s| inode(s, |i| i.name = b"a\0b".to_vec()), memfd, "name"),
            (|s| inode(s, |i| i.seals = 0x40), memfd, "seals"),
            (|s| inode(s, |i| i.shmid = 7), "pagemap-shmem-7.img", ""),
            (|s| inode(s, |i| i.inode_id = 7), "files.img", "memfd.inode_id"),
            (
                |s| {
                    change(s, ImageKind::Memfd, 0, |i: &mut Vec<MemfdInodeEntry>| {
                        i.push(i[0].clone())
                    })
                },
                memfd,
                "inode_id",
            ),
            (
                |s| {
                    change(s, ImageKind::Memfd, 0, |i: &mut Vec<MemfdInodeEntry>| {
                        i.push(MemfdInodeEntry { inode_id: 2, ..i[0].clone() });
                    });
                },
                memfd,
                "shmid",
            ),
            (|s| open(s, |f| f.memfd.as_mut().expect("memfd").id = 999), "files.img", "memfd.id"),
            (|s| open(s, |f| f.memfd = None), "files.img", "memfd"),
            (|s| area(s, |a| a.shmid = 1), "mm-100.img", "vmas"),
            (|s| area(s, |a| a.status &= !status::MEMFD), "mm-100.img", "vmas"),
            (|s| area(s, |a| a.status &= !status::FILE_SHARED), "mm-100.img", "vmas"),
            // Restore would stop at the first page that does not fit.
            (|s| inode(s, |i| i.size = 2 * 4096), pagemap_image, "vaddr"),
            (|s| pagemap(s, |p| p.swap(0, 1)), pagemap_image, "vaddr"),
            (|s| pagemap(s, |p| p[0].flags = Some(1)), pagemap_image, "flags"),
            (|s| drop(s.remove("pagemap-shmem-1.img")), pagemap_image, ""),
            (|s| drop(s.remove("pages-2.img")), "pages-2.img", ""),
            (|s| s.get_mut("pages-2.img").expect("pages").truncate(4096), "pages-2.img", ""),
        ],
    );
}
