//! A good set passes, and each rule finds its mistake.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::criu::container::{ImageReader, ImageWriter};
use crate::criu::proto::*;
use crate::criu::sample;
use crate::criu::vma::{self, status};
use crate::snapshot::PageRange;

pub type Set = BTreeMap<String, Vec<u8>>;

/// Changes the records of an image.
pub fn change<M: Message + Default>(
    set: &mut Set,
    kind: ImageKind,
    id: u32,
    f: impl Fn(&mut Vec<M>),
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

fn inventory(set: &mut Set, f: impl Fn(&mut InventoryEntry)) {
    change(set, ImageKind::Inventory, 0, |entries| f(&mut entries[0]));
}

fn pstree(set: &mut Set, f: impl Fn(&mut PstreeEntry)) {
    change(set, ImageKind::Pstree, 0, |entries| f(&mut entries[0]));
}

fn ids(set: &mut Set, f: impl Fn(&mut TaskKobjIdsEntry)) {
    change(set, ImageKind::Ids, 100, |entries| f(&mut entries[0]));
}

fn core(set: &mut Set, tid: u32, f: impl Fn(&mut CoreEntry)) {
    change(set, ImageKind::Core, tid, |entries| f(&mut entries[0]));
}

fn task(set: &mut Set, f: impl Fn(&mut TaskCoreEntry)) {
    core(set, 100, |core| f(core.tc.as_mut().expect("tc")));
}

fn thread(set: &mut Set, f: impl Fn(&mut ThreadCoreEntry)) {
    core(set, 101, |core| f(core.thread_core.as_mut().expect("thread_core")));
}

fn gpregs(set: &mut Set, f: impl Fn(&mut UserX86RegsEntry)) {
    core(set, 101, |core| f(&mut core.thread_info.as_mut().expect("thread_info").gpregs));
}

fn fpregs(set: &mut Set, f: impl Fn(&mut UserX86FpregsEntry)) {
    core(set, 100, |core| f(&mut core.thread_info.as_mut().expect("thread_info").fpregs));
}

fn mm(set: &mut Set, f: impl Fn(&mut MmEntry)) {
    change(set, ImageKind::Mm, 100, |entries| f(&mut entries[0]));
}

/// Areas of the sample: code, data, heap, stack, vvar, vdso.
fn vmas(set: &mut Set, f: impl Fn(&mut Vec<VmaEntry>)) {
    mm(set, |mm| f(&mut mm.vmas));
}

/// Entries behind the pagemap's head: data, heap, stack, vdso.
fn pagemap(set: &mut Set, f: impl Fn(&mut Vec<PagemapEntry>)) {
    let name = ImageKind::Pagemap.file_name(100);
    let bytes = set.get_mut(&name).expect("pagemap");
    let mut reader = ImageReader::new(ImageKind::Pagemap, bytes.as_slice()).expect("pagemap");
    let head: PagemapHead = reader.next_record().expect("a record").expect("a head");
    let mut entries = reader.records().collect::<Result<Vec<_>, _>>().expect("records");
    f(&mut entries);
    let mut image = ImageWriter::new(ImageKind::Pagemap);
    image.record(&head).expect("a record");
    for entry in &entries {
        image.record(entry).expect("a record");
    }
    *bytes = image.finish();
}

fn reg(set: &mut Set, f: impl Fn(&mut RegFileEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        f(files[0].reg.as_mut().expect("reg"));
    });
}

fn remap(set: &mut Set, f: impl Fn(&mut RemapFilePathEntry)) {
    change(set, ImageKind::RemapFpath, 0, |remaps| f(&mut remaps[0]));
}

/// The record of the deleted file that is in chunks.
fn ghost(set: &mut Set, f: impl Fn(&mut GhostFileEntry)) {
    let name = ImageKind::GhostFile.file_name(2);
    change_first(set, ImageKind::GhostFile, &name, f);
}

/// Changes the first record of an image, and nothing behind it.
fn change_first<M: Message + Default>(
    set: &mut Set,
    kind: ImageKind,
    name: &str,
    f: impl Fn(&mut M),
) {
    let bytes = set.get_mut(name).expect("the image");
    let mut reader = ImageReader::new(kind, bytes.as_slice()).expect("an image");
    let mut entry: M = reader.next_record().expect("a record").expect("an entry");
    let rest = bytes.len() - reader.skip_rest().expect("the rest") as usize;
    let rest = bytes[rest..].to_vec();
    f(&mut entry);
    let mut image = ImageWriter::new(kind);
    image.record(&entry).expect("a record");
    image.payload(&rest);
    *bytes = image.finish();
}

fn lock(set: &mut Set, f: impl Fn(&mut FileLockEntry)) {
    change(set, ImageKind::FileLocks, 0, |locks| f(&mut locks[0]));
}

/// The record of the first open file of a kind.
fn opened<M>(set: &mut Set, part: impl Fn(&mut FileEntry) -> Option<&mut M>, f: impl Fn(&mut M)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        f(files.iter_mut().find_map(&part).expect("a file of the kind"));
    });
}

fn pipe(set: &mut Set, f: impl Fn(&mut PipeEntry)) {
    opened(set, |file| file.pipe.as_mut(), f);
}

fn fifo(set: &mut Set, f: impl Fn(&mut FifoEntry)) {
    opened(set, |file| file.fifo.as_mut(), f);
}

/// The only record of the pipes' data.
fn pipe_data(set: &mut Set, f: impl Fn(&mut PipeDataEntry)) {
    change_first(set, ImageKind::PipesData, "pipes-data.img", f);
}

fn fdinfo(set: &mut Set, f: impl Fn(&mut FdinfoEntry)) {
    change(set, ImageKind::Fdinfo, 2, |entries| f(&mut entries[0]));
}

/// Mistakes of one room: what is done, and in which image and field it shows.
type Mistake = (fn(&mut Set), &'static str, &'static str);

fn assert_found(mistakes: &[Mistake]) {
    for (position, (make, image, field)) in mistakes.iter().enumerate() {
        let mut set = sample::image_set();
        make(&mut set);
        let error = check(&set, CheckOptions::default())
            .expect_err(&format!("mistake {position} in {field} of {image}"));
        assert!(
            error.violations.iter().any(|found| found.image == *image && found.field == *field),
            "mistake {position} in {field} of {image}: {error}"
        );
    }
}

/// The same with a guard page in the stack.
fn guard(set: &mut Set, f: impl Fn(&mut Vec<VmaEntry>)) {
    vmas(set, |vmas| {
        vmas.push(vma::guard(PageRange { start: vmas[3].start, count: 1 }));
        f(vmas);
    });
}

#[test]
fn guard_pages_pass() {
    let mut set = sample::image_set();
    guard(&mut set, |_| {});
    check(&set, CheckOptions::default()).expect("a good set");
}

#[test]
fn a_good_set_passes_and_comes_back_decoded() {
    let set = check(&sample::image_set(), CheckOptions::default()).expect("a good set");
    let process = &set.processes[0];
    assert_eq!(process.pstree.threads, [100, 101]);
    assert_eq!(process.fdinfo.len(), 8);
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
const OPTIONAL: [&str; 4] = ["seccomp.img", "timens-0.img", "filelocks.img", "remap-fpath.img"];

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
fn mistakes_in_the_tree_are_found() {
    assert_found(&[
        (|s| inventory(s, |i| i.img_version = 1), "inventory.img", "img_version"),
        (|s| inventory(s, |i| i.fdinfo_per_id = None), "inventory.img", "fdinfo_per_id"),
        (|s| inventory(s, |i| i.root_ids = None), "inventory.img", "root_ids"),
        (|s| inventory(s, |i| i.root_cg_set = Some(0)), "inventory.img", "root_cg_set"),
        (|s| inventory(s, |i| i.tcp_close = Some(true)), "inventory.img", "tcp_close"),
        (|s| inventory(s, |i| i.allow_uprobes = Some(true)), "inventory.img", "allow_uprobes"),
        (
            |s| {
                inventory(s, |i| {
                    i.plugins_entry = Some(PluginsEntry { plugins: vec!["foo".into()] });
                });
            },
            "inventory.img",
            "plugins_entry",
        ),
        (|s| pstree(s, |p| p.ppid = 1), "pstree.img", "ppid"),
        (|s| pstree(s, |p| p.sid = 777), "pstree.img", "sid"),
        (|s| pstree(s, |p| p.pgid = 1), "pstree.img", "pgid"),
        (|s| pstree(s, |p| p.threads.reverse()), "pstree.img", "threads"),
        (|s| pstree(s, |p| p.threads.push(101)), "pstree.img", "threads"),
        (|s| ids(s, |i| i.files_id = 1), "fdinfo-1.img", ""),
        (|s| ids(s, |i| i.pid_ns_id = None), "ids-100.img", "pid_ns_id"),
        (|s| ids(s, |i| i.net_ns_id = Some(99)), "ids-100.img", "net_ns_id"),
        (|s| ids(s, |i| i.time_ns_id = Some(99)), "ids-100.img", "time_ns_id"),
    ]);
}

#[test]
fn a_foreign_session_takes_a_shell_job() {
    let mut set = sample::image_set();
    pstree(&mut set, |entry| (entry.sid, entry.pgid) = (50, 51));
    assert!(check(&set, CheckOptions::default()).is_err());
    assert!(check(&set, CheckOptions { shell_job: true }).is_ok());
}

#[test]
fn a_descriptor_table_of_the_restorer_is_found() {
    let mut set = sample::image_set();
    let table = set["fdinfo-2.img"].clone();
    set.insert("fdinfo-1.img".into(), table);
    ids(&mut set, |ids| ids.files_id = 1);
    let error = check(&set, CheckOptions::default()).unwrap_err();
    assert_eq!(error.violations[0].field, "files_id");
}

#[test]
fn mistakes_in_cores_are_found() {
    let leader = "core-100.img";
    let other = "core-101.img";
    assert_found(&[
        (|s| core(s, 100, |c| c.mtype = 0), leader, "mtype"),
        (|s| core(s, 100, |c| c.thread_info = None), leader, "thread_info"),
        (|s| core(s, 100, |c| c.thread_core = None), leader, "thread_core"),
        (|s| core(s, 100, |c| c.tc = None), leader, "tc"),
        (|s| core(s, 101, |c| c.tc = Some(TaskCoreEntry::default())), other, "tc"),
        (|s| core(s, 101, |c| c.ids = Some(TaskKobjIdsEntry::default())), other, "ids"),
        (|s| task(s, |t| t.task_state = 99), leader, "tc.task_state"),
        (|s| task(s, |t| (t.task_state, t.stop_signo) = (3, Some(9))), leader, "tc.stop_signo"),
        (|s| task(s, |t| t.timers = None), leader, "tc.timers"),
        (
            |s| task(s, |t| t.timers.as_mut().expect("timers").prof.vusec = 1_000_000),
            leader,
            "tc.timers.prof",
        ),
        (|s| task(s, |t| t.rlimits = None), leader, "tc.rlimits"),
        (
            |s| task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits.truncate(15)),
            leader,
            "tc.rlimits",
        ),
        (
            |s| task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits[3].max = 5),
            leader,
            "tc.rlimits",
        ),
        // There are two timers.
        (
            |s| task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits[11].cur = 1),
            leader,
            "tc.rlimits",
        ),
        (
            |s| {
                task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits[11].cur = 2);
                let mut siginfo = vec![0; 128];
                siginfo[0] = 34;
                let signals = vec![SiginfoEntry { siginfo }];
                thread(s, |t| t.signals_p = Some(SignalQueueEntry { signals: signals.clone() }));
            },
            leader,
            "tc.rlimits",
        ),
        (|s| task(s, |t| t.sigactions.truncate(61)), leader, "tc.sigactions"),
        (
            |s| {
                let mut siginfo = vec![0; 128];
                siginfo[0] = 17;
                let signals = vec![SiginfoEntry { siginfo }];
                thread(s, |t| t.signals_p = Some(SignalQueueEntry { signals: signals.clone() }));
            },
            leader,
            "tc.sigactions",
        ),
        (
            |s| {
                task(s, |t| {
                    let short = SiginfoEntry { siginfo: vec![0; 127] };
                    t.signals_s = Some(SignalQueueEntry { signals: vec![short] });
                });
            },
            leader,
            "tc.signals_s",
        ),
        (|s| thread(s, |t| t.futex_rla_len = 16), other, "thread_core.futex_rla_len"),
        (|s| thread(s, |t| t.creds = None), other, "thread_core.creds"),
        (
            |s| thread(s, |t| t.creds.as_mut().expect("creds").cap_bnd.truncate(1)),
            other,
            "thread_core.creds.cap_bnd",
        ),
        (
            |s| thread(s, |t| t.creds.as_mut().expect("creds").cap_amb.push(1)),
            other,
            "thread_core.creds.cap_amb",
        ),
        (|s| thread(s, |t| t.sched_policy = Some(6)), other, "thread_core.sched_policy"),
        (|s| thread(s, |t| t.sched_policy = Some(1)), other, "thread_core.sched_prio"),
        (|s| thread(s, |t| t.sched_nice = Some(20)), other, "thread_core.sched_nice"),
        (
            |s| thread(s, |t| (t.seccomp_mode, t.seccomp_filter) = (Some(2), Some(0))),
            other,
            "thread_core.seccomp_filter",
        ),
    ]);
}

/// The first timer is on CLOCK_MONOTONIC, the second on a thread's CPU time.
fn posix_timer(set: &mut Set, index: usize, f: impl Fn(&mut PosixTimerEntry)) {
    task(set, |task| f(&mut task.timers.as_mut().expect("timers").posix[index]));
}

#[test]
fn mistakes_in_posix_timers_are_found() {
    let image = "core-100.img";
    let field = "tc.timers.posix";
    assert_found(&[
        (|s| posix_timer(s, 1, |t| t.it_id = 0), image, field),
        (|s| posix_timer(s, 0, |t| t.it_id = 1 << 31), image, field),
        (|s| posix_timer(s, 0, |t| t.insec = 1_000_000_000), image, field),
        (|s| posix_timer(s, 0, |t| t.vnsec = 1_000_000_000), image, field),
        (|s| posix_timer(s, 0, |t| t.vsec = u64::MAX), image, field),
        (|s| posix_timer(s, 0, |t| (t.vsec, t.vnsec) = (0, 0)), image, field),
        (|s| posix_timer(s, 0, |t| t.it_sigev_notify = 3), image, field),
        (|s| posix_timer(s, 0, |t| t.si_signo = 0), image, field),
        (|s| posix_timer(s, 0, |t| t.si_signo = 65), image, field),
        (|s| posix_timer(s, 1, |t| t.notify_thread_id = Some(102)), image, field),
        (|s| posix_timer(s, 1, |t| t.notify_thread_id = None), image, field),
        (|s| posix_timer(s, 0, |t| t.clock_id = 4), image, field),
        // The CPU time of thread 102, and of process 101.
        (|s| posix_timer(s, 1, |t| t.clock_id = (!102 << 3 | 6_i32).cast_unsigned()), image, field),
        (|s| posix_timer(s, 1, |t| t.clock_id = (!101 << 3 | 2_i32).cast_unsigned()), image, field),
        (|s| posix_timer(s, 1, |t| t.clock_id = (!100 << 3 | 3_i32).cast_unsigned()), image, field),
    ]);
}

#[test]
fn mistakes_in_registers_are_found() {
    let general = "core-101.img";
    let extended = "core-100.img";
    assert_found(&[
        (|s| gpregs(s, |r| r.cs = 0x2b), general, "thread_info.gpregs.cs"),
        (|s| gpregs(s, |r| r.ss = 0), general, "thread_info.gpregs.ss"),
        (|s| gpregs(s, |r| r.ip = 0xffff_ffff_8100_0000), general, "thread_info.gpregs.ip"),
        (|s| gpregs(s, |r| r.ip = 0x8000_0000_0000), general, "thread_info.gpregs.ip"),
        // Data, and the vdso.
        (|s| gpregs(s, |r| r.ip = 0x40_1000), general, "thread_info.gpregs.ip"),
        (|s| gpregs(s, |r| r.ip = 0x7ffc_1000_4010), general, "thread_info.gpregs.ip"),
        (|s| gpregs(s, |r| r.sp = u64::MAX), general, "thread_info.gpregs.sp"),
        (|s| gpregs(s, |r| r.fs_base = 1 << 63), general, "thread_info.gpregs.fs_base"),
        (|s| gpregs(s, |r| r.flags |= 0x3000), general, "thread_info.gpregs.flags"),
        (|s| gpregs(s, |r| r.mode = Some(2)), general, "thread_info.gpregs.mode"),
        (|s| fpregs(s, |r| r.mxcsr = u32::MAX), extended, "thread_info.fpregs.mxcsr"),
        (
            |s| fpregs(s, |r| (r.mxcsr, r.mxcsr_mask) = (0x1fc0, 0xffbf)),
            extended,
            "thread_info.fpregs.mxcsr",
        ),
        (|s| fpregs(s, |r| r.twd = 0x1_0000), extended, "thread_info.fpregs.twd"),
        (|s| fpregs(s, |r| r.st_space.clear()), extended, "thread_info.fpregs.st_space"),
        (|s| fpregs(s, |r| r.xmm_space.truncate(63)), extended, "thread_info.fpregs.xmm_space"),
        (
            |s| fpregs(s, |r| r.xsave.as_mut().expect("xsave").ymmh_space.truncate(10)),
            extended,
            "thread_info.fpregs.xsave.ymmh_space",
        ),
        (
            |s| fpregs(s, |r| r.xsave.as_mut().expect("xsave").xstate_bv |= 1 << 7),
            extended,
            "thread_info.fpregs.xsave.hi16_zmm",
        ),
    ]);
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

#[test]
fn mistakes_in_files_are_found() {
    assert_found(&[
        (|s| reg(s, |r| r.id = 77), "files.img", "reg.id"),
        (|s| reg(s, |r| r.name = b"usr/bin".to_vec()), "files.img", "reg.name"),
        (|s| reg(s, |r| r.name = b"/usr\0/bin".to_vec()), "files.img", "reg.name"),
        (
            |s| change(s, ImageKind::Files, 0, |f: &mut Vec<FileEntry>| f[0].reg = None),
            "files.img",
            "reg",
        ),
        (
            |s| change(s, ImageKind::Files, 0, |f: &mut Vec<FileEntry>| f[0].id = 2),
            "files.img",
            "id",
        ),
        (|s| pipe(s, |p| p.id = 99), "files.img", "pipe.id"),
        (|s| pipe(s, |p| p.pipe_id = 99), "pipes-data.img", "pipe_id"),
        (|s| fifo(s, |f| f.id = 99), "files.img", "fifo.id"),
        (|s| fifo(s, |f| f.regf_id = Some(99)), "files.img", "fifo.regf_id"),
        (|s| fifo(s, |f| f.pipe_id = 99), "fifo-data.img", "pipe_id"),
        (|s| pipe_data(s, |d| d.size = Some(8)), "pipes-data.img", "bytes"),
        (|s| pipe_data(s, |d| d.bytes = 10), "pipes-data.img", ""),
        (|s| lock(s, |l| l.pid = 99), "filelocks.img", "pid"),
        (|s| lock(s, |l| l.fd = 99), "filelocks.img", "fd"),
        (|s| lock(s, |l| l.flag = 3), "filelocks.img", "flag"),
        (|s| lock(s, |l| l.r#type = 5), "filelocks.img", "type"),
        (|s| lock(s, |l| l.start = -1), "filelocks.img", "len"),
        (|s| lock(s, |l| l.len = i64::MAX), "filelocks.img", "len"),
        (|s| remap(s, |r| r.orig_id = 99), "remap-fpath.img", "orig_id"),
        (|s| remap(s, |r| r.remap_id = 10), "ghost-file-a.img", ""),
        (|s| remap(s, |r| r.remap_id = 2), "ghost-file-2.img", "size"),
        (|s| ghost(s, |g| g.mode = 0), "ghost-file-2.img", "mode"),
        (|s| ghost(s, |g| g.size = None), "ghost-file-2.img", "size"),
        (|s| ghost(s, |g| g.size = Some(4096)), "ghost-file-2.img", "off"),
        (|s| fdinfo(s, |f| f.id = 99), "fdinfo-2.img", "id"),
        (|s| fdinfo(s, |f| f.fd = 1), "fdinfo-2.img", "fd"),
        (|s| fdinfo(s, |f| f.flags = 2), "fdinfo-2.img", "flags"),
        (|s| fdinfo(s, |f| f.r#type = 2), "fdinfo-2.img", "type"),
        (
            |s| change(s, ImageKind::Fs, 100, |f: &mut Vec<FsEntry>| f[0].cwd_id = 1),
            "fs-100.img",
            "cwd_id",
        ),
        (
            |s| change(s, ImageKind::Fs, 100, |f: &mut Vec<FsEntry>| f[0].root_id = 99),
            "fs-100.img",
            "root_id",
        ),
    ]);
}

#[test]
fn a_zombie_has_a_core_alone() {
    let mut set = sample::image_set();
    change(&mut set, ImageKind::Pstree, 0, |entries: &mut Vec<PstreeEntry>| {
        let zombie = PstreeEntry { pid: 102, ppid: 100, threads: vec![9], ..entries[0].clone() };
        entries.push(zombie);
    });
    let task = TaskCoreEntry { task_state: 2, ..TaskCoreEntry::default() };
    let core = CoreEntry { mtype: 1, tc: Some(task), ..CoreEntry::default() };
    let mut image = ImageWriter::new(ImageKind::Core);
    image.record(&core).unwrap();
    set.insert("core-102.img".into(), image.finish());
    check(&set, CheckOptions::default()).expect("a good set");
}

#[test]
fn mistakes_are_told_on_one_line() {
    let mut set = sample::image_set();
    fpregs(&mut set, |regs| regs.mxcsr = u32::MAX);
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
