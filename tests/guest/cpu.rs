//! What the CPU of the source offered, and a destination that has less.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ovmigrate::criu::proto::{CpuinfoEntry, CpuinfoX86Entry};
use ovmigrate::criu::{ImageKind, ImageReader, instructions};

use crate::harness::{FreshVm, Job, guests, kept, ovmigrate, refused, wait_for};

fn read(path: &Path) -> CpuinfoX86Entry {
    let file = fs::read(path).unwrap();
    let mut reader = ImageReader::new(ImageKind::Cpuinfo, file.as_slice()).unwrap();
    let entry: CpuinfoEntry = reader.next_record().unwrap().expect("a record");
    let [cpu] = <[CpuinfoX86Entry; 1]>::try_from(entry.x86_entry).expect("one CPU");
    cpu
}

#[test]
fn the_cpu_is_told_as_criu_tells_it() {
    let guests = guests();
    let job = guests.start("counter", &["200"], "1\n");
    guests.save(job.pid, &["--leave-running"]).stdout();
    let image = Path::new(&guests.images()).join("cpuinfo.img");
    let ours = read(&image);
    let folder = format!("{}.cpu", job.log);
    guests.source.sh(&format!("mkdir {folder} && criu cpuinfo dump -D {folder}"));
    let theirs = guests.folder.join("criu-cpuinfo.img");
    guests.source.pull(&format!("{folder}/cpuinfo.img"), &theirs);
    let theirs = read(&theirs);
    let told = |cpu: &CpuinfoX86Entry| {
        let CpuinfoX86Entry { vendor_id, cpu_family, model, stepping, capability_ver, .. } = *cpu;
        let id = (vendor_id, cpu_family, model, stepping, capability_ver);
        let name = cpu.model_id().trim().to_owned();
        (id, name, cpu.capability.len(), cpu.xsave_size)
    };
    assert_eq!(told(&ours), told(&theirs));
    let known = |cpu: &CpuinfoX86Entry| instructions(cpu).collect::<BTreeSet<_>>();
    // The kernel may know better than to offer something.
    let (ours, theirs) = (known(&ours), known(&theirs));
    assert!(ours.is_subset(&theirs), "{ours:?} are not all in {theirs:?}");
    assert!(ours.contains("avx2"), "{ours:?}");
    guests.source.push(&image, &format!("{folder}/cpuinfo.img"));
    guests
        .source
        .sh(&format!("criu cpuinfo check -D {folder} --cpu-cap=noneinsfpu; rm -r {folder}"));
}

#[test]
fn a_cpu_that_lacks_what_the_source_offered_is_refused() {
    let options = ["--memory", "512M", "--cpu", "max,erms=off,fsrm=off,adx=off"];
    let vm = FreshVm::boot(&options);
    let guests = guests();
    let job = guests.source.start("counter", &["200"], "1\n");
    guests.save(job.pid, &[]).stdout();
    let program = guests.source.program("counter");
    guests.copy_between(&guests.source, &vm.guest, &[&job.log, &program]);
    let images = guests.images();
    let restore = |more: &[&str]| {
        let restore = ["restore", "--domain", vm.guest.name, "--images-dir", &images];
        ovmigrate(restore.iter().chain(more))
    };
    let message = restore(&[]).failure();
    let words = "its CPU lacks adx, which that of the source offered";
    assert!(message.contains(words), "{message}");
    refused("a destination whose CPU lacks what the source's offered", words);
    restore(&["--cpu-cap", "none"]).stdout();
    let restored = Job { guest: &vm.guest, pid: job.pid, log: job.log.clone() };
    wait_for("it counts on", || (restored.log().lines().count() > 5).then_some(()));
    restored.kill("KILL");
    kept(&["what the CPU offered (cpuinfo.img)"]);
}

#[test]
fn protection_keys_are_refused() {
    let guests = guests();
    // pkey_alloc()
    let program = "import ctypes; c = ctypes.CDLL(None); assert c.syscall(330, 0, 0) > 0; \
                   print('ready', flush=True); c.pause()";
    let job = guests.source.spawn(&["python3", "-c", program]).once_it_prints("ready");
    let message = guests.save(job.pid, &[]).error();
    let words = "it has protection keys (pkey_alloc)";
    assert!(message.contains(words), "{message}");
    assert!(job.is_alive());
    refused("protection keys", words);
}
