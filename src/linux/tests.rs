//! Walks over collections that were made up: each ends, within a budget of
//! accesses, in an answer or an error.
//!
//! A guest of a few pages, with the layouts of the real kernels that
//! `kernel-profiles/` holds.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::kernel::{Kernel, KernelError, Located, Profile, ProfileLibrary};
use crate::memory::{Backing, GuestMemory, GuestPhys, GuestVirt, PageTableLevels, Region};

const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;
/// Where the made-up structures lie, and how much room they have.
const ARENA: u64 = 0x10_0000;
const ARENA_SIZE: u64 = 0x1_0000;
/// The tables that map all RAM at `PAGE_OFFSET` and the kernel image at its
/// start.
const TOP_TABLE: u64 = 0x1000;
const RAM: u64 = 64 << 20;
/// Accesses that any walk here may take.
const READS_MAX: u64 = 100_000;

/// RAM that is zero but for its first pages and the arena.
#[derive(Debug)]
struct Toy {
    tables: Vec<u8>,
    arena: Vec<u8>,
    /// Variables of the kernel, by where they lie.
    variables: Vec<(u64, u64)>,
    reads: Arc<AtomicU64>,
}

impl Toy {
    fn byte(&self, at: u64) -> u8 {
        let of = |(start, value): &(u64, u64)| {
            value.to_le_bytes().get(usize::try_from(at.checked_sub(*start)?).ok()?).copied()
        };
        if let Some(byte) = self.variables.iter().find_map(of) {
            return byte;
        }
        match at {
            ARENA.. if at < ARENA + ARENA_SIZE => self.arena[(at - ARENA) as usize],
            _ => self.tables.get(at as usize).copied().unwrap_or(0),
        }
    }
}

impl Backing for Toy {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        for (at, byte) in (offset..).zip(buf) {
            *byte = self.byte(at);
        }
        Ok(())
    }

    fn write(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        panic!("a walk writes to the guest");
    }

    fn borrow(&self, _offset: u64, _len: usize) -> Option<&[u8]> {
        None
    }

    fn next_data(&self, _offset: u64) -> Option<Range<u64>> {
        None
    }
}

/// Does something with each real kernel, its RAM holding `arena`; counts what
/// each reads.
fn with_each_kernel(arena: &[u64], walk: impl FnMut(&Kernel)) {
    with_each_kernel_and(&[], arena, walk);
}

/// The same with these values of variables, where the kernel has them.
fn with_each_kernel_and(variables: &[(&str, u64)], arena: &[u64], walk: impl FnMut(&Kernel)) {
    with_each_kernel_built(|_| (), variables, arena, walk);
}

/// The same of kernels that were built in another way.
fn with_each_kernel_built(
    change: impl Fn(&mut Profile),
    variables: &[(&str, u64)],
    arena: &[u64],
    mut walk: impl FnMut(&Kernel),
) {
    let profiles: Vec<_> = ProfileLibrary::built_in().all().collect();
    assert!(profiles.len() >= 4, "the profiles are built in");
    for mut known in profiles {
        change(&mut known.profile);
        let mut tables = vec![0; 0x4000];
        let mut map = |table: u64, index: u64, entry: u64| {
            let at = (table + index * 8) as usize;
            tables[at..at + 8].copy_from_slice(&(entry | 3).to_le_bytes());
        };
        map(TOP_TABLE, (PAGE_OFFSET >> 39) & 511, TOP_TABLE + 0x1000);
        map(TOP_TABLE, 511, TOP_TABLE + 0x2000);
        // One entry of 1 GiB each.
        map(TOP_TABLE + 0x1000, 0, 0x80);
        map(TOP_TABLE + 0x2000, 510, 0x80);
        let mut arena: Vec<u8> = arena.iter().flat_map(|word| word.to_le_bytes()).collect();
        arena.resize(ARENA_SIZE as usize, 0);
        let reads = Arc::new(AtomicU64::new(0));
        let place = |(name, value): (&str, u64)| {
            let place = known.profile.symbols.get(name)?;
            Some((place - 0xffff_ffff_8000_0000, value))
        };
        let variables = variables.iter().copied().chain([("page_offset_base", PAGE_OFFSET)]);
        let variables = variables.filter_map(place).collect();
        let toy = Toy { tables, arena, variables, reads: reads.clone() };
        let region = Region { start: GuestPhys::new(0), len: RAM, backing: Box::new(toy) };
        let located = Located {
            kaslr_offset: 0,
            phys_base: 0,
            page_table: GuestPhys::new(TOP_TABLE),
            levels: PageTableLevels::Four,
        };
        let memory = Arc::new(GuestMemory::new(vec![region]).unwrap());
        let kernel = Kernel::new(memory, located, Arc::new(known.profile), &DECLARATIONS).unwrap();
        walk(&kernel);
        let reads = reads.load(Ordering::Relaxed);
        assert!(reads < READS_MAX, "{reads} accesses on {}", kernel.release());
    }
}

/// The address of a word of the arena.
fn at(word: usize) -> GuestVirt {
    GuestVirt::new(PAGE_OFFSET + ARENA + word as u64 * 8)
}

/// A word as kernel structures have them: small, a pointer into the arena,
/// tagged or not, or anything.
fn word() -> impl Strategy<Value = u64> {
    let words = (ARENA_SIZE / 8) as usize;
    prop_oneof![
        0..64_u64,
        any::<u64>(),
        Just(u64::MAX),
        (0..words).prop_map(|word| at(word).get()),
        // Encoded nodes of maple trees: aligned, type and flags below.
        (0..words / 32, 0..128_u64).prop_map(|(node, tag)| at(node * 32).get() | tag),
    ]
}

/// Every collection that starts at `at`, whatever is there.
fn walk_all(kernel: &Kernel, at: GuestVirt) -> Result<(), crate::kernel::KernelError> {
    let list = ListHead::at(kernel, at)?;
    let _ = list.entries::<Task<'_>>("tasks").collect::<Result<Vec<_>, _>>();
    if let Ok(tree) = MapleTree::at(kernel, at) {
        let _ = tree.entries(1000);
    }
    let _ = XArray::at(kernel, at)?.entries(1000);
    let _ = PageCache::at(kernel, at)?.cached(1000);
    let mm = Mm::at(kernel, at)?;
    let _ = mm.vmas();
    let _ = mm.saved_auxv();
    let _ = mm.resident_pages();
    let _ = FilesStruct::at(kernel, at)?.open_fds();
    let _ = SigPending::at(kernel, at)?.queued();
    if let Ok(timers) = SignalStruct::at(kernel, at)?.posix_timers() {
        for timer in timers {
            let _ = timer.state();
            let _ = timer.entry().and_then(|entry| entry.siginfo());
        }
    }
    if let Ok(items) = Eventpoll::at(kernel, at)?.watched() {
        let _ = items.iter().map(Epitem::queue).collect::<Result<Vec<_>, _>>();
    }
    let _ = RbRoot::at(kernel, at)?.entries::<Epitem<'_>>("node");
    for watch in FsnotifyGroup::at(kernel, at)?.watches().unwrap_or_default() {
        let _ = watch.mark().and_then(|mark| mark.inode());
    }
    let _ = Inode::at(kernel, at)?.names(1000);
    let _ = Inode::at(kernel, at)?.link_text();
    let _ = Dentry::at(kernel, at)?.child_named(b"name", &mut Looks::new(1000));
    let _ = UnixSock::at(kernel, at)?.sun_path();
    let _ = NetlinkSock::at(kernel, at)?.memberships();
    let _ = PacketSock::at(kernel, at)?.memberships();
    let _ = Mount::at(kernel, at)?.all();
    let _ = TimerfdCtx::at(kernel, at)?.is_canceled();
    let _ = GroupInfo::at(kernel, at)?.groups();
    let _ = Cred::at(kernel, at)?.is_restricted_by_landlock();
    let _ = Cred::at(kernel, at)?.apparmor();
    let path = Path::at(kernel, at)?;
    let _ = path.resolve(&path);
    let _ = path.display(&Path::at(kernel, at.wrapping_add(64))?);
    let _ = Pid::at(kernel, at)?.global();
    let pipe = PipeInodeInfo::at(kernel, at)?;
    let _ = pipe.buffers();
    let _ = pipe.capacity();
    let _ = FileLockContext::at(kernel, at)?.posix()?.entries::<FileLock<'_>>("list").count();
    let task = Task::at(kernel, at)?;
    for filter in task.seccomp_filters().unwrap_or_default() {
        let _ = filter.instructions();
    }
    for cgroup in task.cgroups_of_hierarchies().unwrap_or_default() {
        let _ = cgroup.ancestry();
    }
    let cgroup = Cgroup::at(kernel, at)?;
    let _ = cgroup.ancestry();
    let _ = cgroup.has_programs();
    let node = KernfsNode::at(kernel, at)?;
    let _ = node.name();
    for file in node.entries().unwrap_or_default() {
        let _ = file.owner();
    }
    let _ = CgroupSubsys::all(kernel);
    for disk in Blkcg::at(kernel, at)?.disks().unwrap_or_default() {
        let _ = disk.device();
        let _ = (disk.max(), disk.throttle());
        let _ = disk.weight();
    }
    let cpuset = Cpuset::at(kernel, at)?;
    let _ = cpuset.cpus();
    let _ = (cpuset.nodes(), cpuset.effective());
    let _ = Hstate::orders(kernel);
    for context in mm.aio_contexts().unwrap_or_default() {
        let _ = RequestCount::new(kernel).and_then(|mut requests| requests.in_flight(&context));
        let _ = context.frames();
    }
    let _ = (mm.settings(), mm.dump_filter());
    let _ = Inode::at(kernel, at)?.notified_files();
    let _ = task.comm();
    let _ = task.faulting_instructions();
    for controller in CgroupSubsys::all(kernel).unwrap_or_default() {
        let _ = task.controller_state(&controller);
    }
    let _ = task.state_letter();
    let _ = task.xsave_area();
    let _ = task.user_regs().map(|regs| regs.cs());
    let _ = task.threads().map(|threads| threads.collect::<Result<Vec<_>, _>>());
    Ok(())
}

#[test]
fn landlock_restricts_those_who_have_a_domain() {
    let is_restricted = |is_on, word: u64| {
        let mut restricted = Vec::new();
        let variables = [("landlock_initialized", is_on), ("landlock_blob_sizes", 8)];
        with_each_kernel_and(&variables, &[word; 512], |kernel| {
            let cred = Cred::at(kernel, at(0)).unwrap();
            let has_landlock = kernel.symbol("landlock_initialized").is_some();
            assert_eq!(has_landlock, !kernel.release().starts_with("5.10."));
            let is = cred.is_restricted_by_landlock().unwrap();
            if has_landlock {
                restricted.push(is);
            } else {
                assert!(!is, "there is no Landlock in {}", kernel.release());
            }
        });
        assert!(restricted.len() >= 3 && restricted.iter().all(|is| *is == restricted[0]));
        restricted[0]
    };
    // Credentials whose modules' parts lie where all words point to that place,
    // or where all are 0.
    let (pointers, zeros) = (at(256).get(), PAGE_OFFSET + 0x3800);
    assert!(is_restricted(1, pointers));
    assert!(!is_restricted(1, zeros));
    assert!(!is_restricted(0, pointers), "it is switched off");
    assert!(!is_restricted(1, 0), "there are no security modules");
}

#[test]
fn the_cpus_of_a_cpuset_are_a_mask_or_behind_a_pointer() {
    // As kernels for up to 64 CPUs have it: `struct cpumask cpus_allowed[1]`.
    let small = |profile: &mut Profile| {
        let members = &mut profile.structs.get_mut("cpuset").unwrap().members;
        let mask = members["cpus_allowed"].clone();
        members.insert("cpus_allowed.bits".to_owned(), mask);
    };
    let variables = [("nr_cpu_ids", 4)];
    let cpus = |kernel: &Kernel| Cpuset::at(kernel, at(0)).unwrap().cpus();
    with_each_kernel_built(small, &variables, &[0b1010; 512], |kernel| {
        assert_eq!(cpus(kernel).unwrap(), [1, 3]);
    });
    // All words lead to one with the same.
    let pointer = at(256).get();
    with_each_kernel_and(&variables, &[pointer; 512], |kernel| {
        let set: Vec<u32> = (0..64).filter(|bit| pointer >> bit & 1 == 1).collect();
        assert_eq!(cpus(kernel).unwrap(), set);
    });
    with_each_kernel_and(&variables, &[0; 512], |kernel| assert!(cpus(kernel).unwrap().is_empty()));
}

#[test]
fn contexts_of_aio_are_bounded_together() {
    let variables = [("nr_cpu_ids", 3)];
    with_each_kernel_and(&variables, &[], |first| {
        // A table at word 512 with contexts at words 1024 and 2048.
        let place = |of: GuestVirt| (of.get() - at(0).get()) as usize / 8;
        let table = KioctxTable::at(first, at(512)).unwrap();
        let mut arena = vec![0; 4096];
        arena[place(Mm::at(first, at(0)).unwrap().place("ioctx_table").unwrap().addr())] =
            at(512).get();
        let count = table.place("count").unwrap().addr();
        arena[place(count)] = 2 << (count.get() % 8 * 8);
        let places = place(table.table().unwrap().addr());
        let contexts = |second: u64, pages: u64, check: &mut dyn FnMut(&Kernel)| {
            let mut arena = arena.clone();
            (arena[places], arena[places + 1]) = (at(1024).get(), second);
            for context in [at(1024), at(2048)] {
                let context = Kioctx::at(first, context).unwrap();
                arena[place(context.place("nr_pages").unwrap().addr())] = pages;
            }
            with_each_kernel_and(&variables, &arena, |kernel| {
                if kernel.release() == first.release() {
                    check(kernel);
                }
            });
        };
        contexts(at(2048).get(), 1 << 19, &mut |kernel| {
            let found = Mm::at(kernel, at(0)).unwrap().aio_contexts().unwrap();
            assert_eq!(found.len(), 2);
            let mut requests = RequestCount::within(kernel, 5).unwrap();
            assert!(requests.in_flight(&found[0]).is_ok());
            assert!(requests.in_flight(&found[1]).is_err());
        });
        let mut are_refused = |kernel: &Kernel| {
            assert!(Mm::at(kernel, at(0)).unwrap().aio_contexts().is_err());
        };
        contexts(at(2048).get(), 1 + (1 << 19), &mut are_refused);
        contexts(at(1024).get(), 1, &mut are_refused);
    });
}

#[test]
fn a_path_is_not_read_while_names_or_mounts_move() {
    let resolve = |locks: [u64; 2], check: fn(Result<ResolvedPath, KernelError>)| {
        let variables = [("rename_lock", locks[0]), ("mount_lock", locks[1])];
        // A dentry that is its own parent, of a mount that has another root.
        with_each_kernel_and(&variables, &[at(0).get(); 512], |kernel| {
            assert!(kernel.symbol("rename_lock").is_some(), "{}", kernel.release());
            assert!(kernel.symbol("mount_lock").is_some(), "{}", kernel.release());
            let path = Path::at(kernel, at(0)).unwrap();
            check(path.resolve(&path));
        });
    };
    resolve([2, 4], |path| assert_eq!(path.unwrap().path, b"/"));
    for locks in [[3, 4], [2, 5]] {
        resolve(locks, |path| assert!(matches!(path, Err(KernelError::Moving))));
    }
}

/// A directory at word 0 with these names of one letter each, as `kernel` links them.
fn directory(kernel: &Kernel, names: &[u8]) -> Vec<u64> {
    const DENTRY: u64 = 0x400;
    let mut bytes = vec![0; DENTRY as usize * (names.len() + 1)];
    let mut set = |place: GuestVirt, value: &[u8]| {
        bytes[(place.get() - at(0).get()) as usize..][..value.len()].copy_from_slice(value);
    };
    let place = |number: u64, field| {
        let dentry = Dentry::at(kernel, at(0).wrapping_add(number * DENTRY)).unwrap();
        dentry.place(field).unwrap().addr()
    };
    let is_list = Dentry::at(kernel, at(0)).unwrap().subdirs().unwrap().is_some();
    let (head, link) = if is_list { ("subdirs", "child") } else { ("first_child", "next_sibling") };
    let end = if is_list { place(0, head) } else { GuestVirt::NULL };
    let mut last = place(0, head);
    for (number, name) in (1..).zip(names) {
        let own = place(number, link);
        set(last, &own.get().to_le_bytes());
        set(own, &end.get().to_le_bytes());
        set(own.wrapping_add(8), &last.get().to_le_bytes());
        last = own;
        let letter = at(0).wrapping_add((number + 1) * DENTRY - 8);
        set(letter, &[*name]);
        set(place(number, "name"), &letter.get().to_le_bytes());
        set(place(number, "name_len"), &1_u32.to_le_bytes());
        set(place(number, "hash_pprev"), &at(0).get().to_le_bytes());
    }
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn names_are_looked_for_as_often_as_may_be() {
    let wanted = |letters: &str| letters.bytes().map(|letter| vec![letter]).collect();
    with_each_kernel(&[], |first| {
        with_each_kernel(&directory(first, b"abcdefgh"), |kernel| {
            if kernel.release() != first.release() {
                return;
            }
            let directory = Dentry::at(kernel, at(0)).unwrap();
            let mut looks = Looks::new(8 + 3 + 4);
            let found = directory.children_named(&wanted("hcx"), &mut looks).unwrap();
            let mut names: Vec<_> = found.into_keys().flatten().collect();
            names.sort_unstable();
            assert_eq!(names, b"ch");
            assert!(directory.child_named(b"c", &mut looks).unwrap().is_some());
            assert!(directory.child_named(b"e", &mut looks).is_err());
        });
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_memory_is_walked_or_refused(arena in vec(word(), 512..4096), start in 0..512_usize) {
        let variables = [("landlock_initialized", 1), ("apparmor_initialized", 1)];
        with_each_kernel_and(&variables, &arena, |kernel| walk_all(kernel, at(start)).unwrap());
    }

    #[test]
    fn a_list_with_some_wrong_links_ends(
        len in 1..60_usize,
        lies in vec((0..60_usize, any::<bool>(), word()), 0..4),
    ) {
        // The head at 0; entries 8 words apart, next and previous in each.
        let entry = |number: usize| (number % (len + 1)) * 8;
        let mut arena = vec![0; (len + 1) * 8];
        for number in 0..=len {
            arena[entry(number)] = at(entry(number + 1)).get();
            arena[entry(number) + 1] = at(entry(number + len)).get();
        }
        for (number, backwards, lie) in &lies {
            arena[entry(*number) + usize::from(*backwards)] = *lie;
        }
        with_each_kernel(&arena, |kernel| {
            let list = ListHead::at(kernel, at(0)).unwrap();
            let walked: Result<Vec<_>, _> = list.entries::<Sigqueue<'_>>("list").collect();
            match walked {
                Ok(entries) => assert!(entries.len() <= len),
                Err(_) => assert!(!lies.is_empty()),
            }
        });
    }

    #[test]
    fn a_tree_with_some_wrong_words_ends(
        leaves in 1..10_usize,
        lies in vec((0..11 * 32_usize, word()), 0..6),
    ) {
        // A root of type 3 (10 slots) over leaves of type 1 (16 slots) with two
        // entries each. Words: parent, pivots, slots.
        const LEAF: u64 = 1 << 3 | 6;
        const ROOT: u64 = 3 << 3 | 6;
        let mut arena = vec![0; 12 * 32];
        for leaf in 0..leaves {
            let (node, key) = (32 * (leaf + 1), 100 * leaf as u64);
            arena[1 + leaf] = if leaf + 1 < leaves { key + 99 } else { u64::MAX };
            arena[10 + leaf] = at(node).get() | LEAF;
            arena[node + 1] = key + 50;
            arena[node + 2] = arena[1 + leaf];
            arena[node + 16] = at(0).get();
            arena[node + 17] = at(1).get();
        }
        // The tree's own structure, its root where this kernel has it.
        for (place, lie) in &lies {
            arena[*place] = *lie;
        }
        with_each_kernel(&arena, |kernel| {
            let root = at(0).get() | ROOT | 2;
            match maple_tree::tests::entries_below(kernel, root, 100) {
                Ok(entries) if lies.is_empty() => assert_eq!(entries.len(), 2 * leaves),
                Ok(entries) => assert!(entries.len() <= 100),
                Err(_) => assert!(!lies.is_empty()),
            }
        });
    }

    #[test]
    fn an_array_with_some_wrong_words_ends(
        leaves in 1..6_usize,
        lies in vec((0..7 * 72_usize, word()), 0..6),
    ) {
        // The array, then a root of shift 6 over leaves of shift 0. Each leaf
        // has a pointer, one that covers four slots, and a number.
        const NODE: usize = 72;
        const SLOTS: usize = 5;
        let mut arena = vec![0; 7 * NODE];
        let internal = |word: usize| at(word).get() + 2;
        arena[1] = internal(NODE);
        arena[NODE] = 6;
        for leaf in 0..leaves {
            let node = NODE * (leaf + 2);
            arena[NODE + SLOTS + leaf] = internal(node);
            arena[node + SLOTS + 3] = at(0).get();
            arena[node + SLOTS + 8] = at(1).get();
            for slot in 9..12 {
                arena[node + SLOTS + slot] = 8 << 2 | 2;
            }
            arena[node + SLOTS + 20] = 7 << 1 | 1;
        }
        for (place, lie) in &lies {
            arena[*place] = *lie;
        }
        with_each_kernel(&arena, |kernel| {
            let entries = XArray::at(kernel, at(0)).unwrap().entries(100);
            match entries {
                Ok(entries) if lies.is_empty() => {
                    let of_leaf = |leaf: u64| [
                        (leaf + 3, 1, XaValue::Pointer(at(0))),
                        (leaf + 8, 4, XaValue::Pointer(at(1))),
                        (leaf + 20, 1, XaValue::Number(7)),
                    ];
                    let expected = (0..leaves as u64).flat_map(|leaf| of_leaf(leaf * 64));
                    let expected: Vec<_> = expected
                        .map(|(first, count, value)| XaEntry { first, count, value })
                        .collect();
                    assert_eq!(entries, expected);
                }
                Ok(entries) => assert!(entries.len() <= 100),
                Err(_) => assert!(!lies.is_empty()),
            }
        });
    }
}
