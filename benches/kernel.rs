//! What is decoded of a kernel that is not known yet: symbols (kallsyms) and types
//! (BTF), of the guests' own kernel.
//!
//! `OVMIGRATE_BENCH_KERNEL` names another entry of
//! `qemu-scripts/guest/kernels.toml` than 6.1. Its image is built if need be.

use std::env;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ovmigrate::kernel::btf::Btf;
use ovmigrate::kernel::kallsyms::Kallsyms;
use ovmigrate::kernel::{ImageCopy, kernel_image};
use ovmigrate::memory::GuestVirt;

const TYPES: [&str; 2] = ["__start_BTF", "__stop_BTF"];

fn image() -> ImageCopy {
    let kernel = env::var("OVMIGRATE_BENCH_KERNEL").unwrap_or_else(|_| "6.1".to_owned());
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu-scripts/build-image");
    let output = Command::new(tool).args(["--kernel", &kernel]).output().expect("build-image runs");
    let folder = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    kernel_image(&PathBuf::from(folder.trim_end()).join("vmlinuz")).expect("a kernel")
}

fn kernel(criterion: &mut Criterion) {
    let image = image();
    let symbols = Kallsyms::search(&image).expect("kallsyms");
    let tables = symbols.tables();
    let mut group = criterion.benchmark_group("kernel");
    group.sample_size(20);
    group.bench_function("kallsyms: find the tables", |bencher| {
        bencher.iter(|| Kallsyms::search(&image).expect("kallsyms").len());
    });
    group.throughput(Throughput::Elements(symbols.len() as u64));
    group.bench_function("kallsyms: decode all symbols", |bencher| {
        bencher.iter(|| {
            let symbols = Kallsyms::open(&image, &tables).expect("kallsyms");
            let mut count = 0;
            let stopped = symbols.visit(|_| {
                count += 1;
                ControlFlow::<()>::Continue(())
            });
            assert!(stopped.expect("good tables").is_none() && count == symbols.len());
        });
    });
    let found = symbols.find(TYPES).expect("symbols");
    let [start, end] = TYPES.map(|name| GuestVirt::new(found[name]));
    let blob = image.range(start, end).expect("types in the image");
    let types = Btf::parse(blob).expect("BTF");
    group.throughput(Throughput::Elements(types.len() as u64));
    group.bench_function("BTF: index all types", |bencher| {
        bencher.iter(|| Btf::parse(blob).expect("BTF").len());
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("BTF: find a member", |bencher| {
        let task = types.composites("task_struct")[0];
        bencher.iter(|| types.member(task, "signal").expect("a member").size);
    });
    group.finish();
}

criterion_group!(benches, kernel);
criterion_main!(benches);
