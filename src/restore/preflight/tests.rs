use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::images::ImageFile;
use super::*;

/// A guest that can take small images.
const ABLE: &str = "criu Version: 3.17.1\npid_max 4194304\nmemory 500000\nmemory 0\n\
    space /run 190000\nspace /var/tmp 3000000\nflags  fpu avx avx2 pku\nend\n";

fn guest(answer: &str) -> Guest {
    Guest::parse(&answer.lines().map(str::to_owned).collect::<Vec<_>>())
}

/// Images of a process 1234 with so many bytes of pages.
fn images(bytes: u64) -> ImageSet {
    let pages = ImageFile { name: "pages-1.img".into(), size: bytes };
    let tids = [1234].into();
    ImageSet { images: vec![pages], root: 1234, tids, ..ImageSet::empty(Path::new("/images")) }
}

fn file(path: impl AsRef<[u8]>, size: u64) -> ExpectedFile {
    let (path, size, mode) = (path.as_ref().to_owned(), Some(size), Some(0o100_644));
    ExpectedFile { path, size, mode, is_free: false }
}

#[test]
fn images_go_to_memory_or_to_the_disk() {
    let dir = |answer: &str, bytes| guest(answer).place(&images(bytes)).map(|place| place.dir);
    assert_eq!(dir(ABLE, 1 << 20), Ok("/run"));
    assert_eq!(dir(ABLE, 200 << 20), Ok("/var/tmp"));
    // There they would take the memory that the process needs.
    let large_run = ABLE.replace("/run 190000", "/run 900000");
    assert_eq!(dir(&large_run, 300 << 20), Ok("/var/tmp"));
    let no_memory = dir(ABLE, 1 << 30).unwrap_err();
    assert_eq!(no_memory, ["the process needs 1048576 KiB of memory, 500000 are free"]);
    let no_room = dir(&ABLE.replace("3000000", "30"), 200 << 20).unwrap_err();
    assert!(no_room[0].contains("/var/tmp 30"), "{no_room:?}");
}

#[test]
fn everything_that_is_in_the_way_is_listed() {
    let answer = ABLE.replace("3.17.1", "3.16") + "lacks tar\ntaken 1234 some one\n";
    let set = ImageSet { xfeatures: 0b10_0110_0111, ..images(0) };
    assert_eq!(
        guest(&answer).place(&set).unwrap_err(),
        [
            "tar is not installed",
            "CRIU 3.17 or later is needed, it has \"3.16\"",
            "PID 1234 is taken by \"some one\"",
            "its CPU lacks avx512f, which the process uses",
        ]
    );
    let low = guest(&ABLE.replace("4194304", "1000")).place(&images(0)).unwrap_err();
    assert_eq!(low, ["PID 1234 is above its kernel.pid_max of 1000"]);
}

#[test]
fn what_an_older_criu_would_lose_is_named() {
    let need =
        |field, since: &str| Need { pid: 9, what: "it", field, since: since.parse().unwrap() };
    let set = ImageSet { needs: vec![need("a.b", "3.18"), need("c", "4.1")], ..images(0) };
    let problems = |version: &str| {
        guest(&ABLE.replace("3.17.1", version)).place(&set).err().unwrap_or_default()
    };
    assert_eq!(
        problems("3.17.1"),
        [
            "its CRIU 3.17.1 would lose it of process 9, as a.b came with CRIU 3.18",
            "its CRIU 3.17.1 would lose it of process 9, as c came with CRIU 4.1",
        ]
    );
    assert_eq!(problems("4.0").len(), 1);
    assert_eq!(problems("4.1.1"), Vec::<String>::new());
}

#[test]
fn files_are_compared_by_their_number() {
    let set = ImageSet {
        files: vec![file("/a", 1), file("/b", 2), file("/c", 3), file("/d", 4), free("/e")],
        ..images(0)
    };
    let answer = format!(
        "there 0\nmissing 1\nthere 2\nthere 3\nmissing 4\n\
         stat 1 81a4\nstat 4 81a4\nstat 4 41ed\n{ABLE}"
    );
    assert_eq!(
        guest(&answer).place(&set).unwrap_err(),
        [
            "/b is missing",
            "/c has 4 bytes, the process had 3",
            "/d has type 40755, the process had 100644",
        ]
    );
    // What does not add up is not taken for granted.
    let short = guest(&format!("there 0\nmissing 99\n{ABLE}")).place(&set).unwrap_err();
    assert_eq!(short, ["its files could not be looked at"]);
}

fn free(path: &str) -> ExpectedFile {
    ExpectedFile { path: path.into(), size: None, mode: None, is_free: true }
}

#[test]
fn the_place_of_a_deleted_directory_must_be_free() {
    let set = ImageSet { files: vec![free("/a")], ..images(0) };
    assert!(guest(&format!("missing 0\n{ABLE}")).place(&set).is_ok());
    let taken = guest(&format!("there 0\nstat 4096 41ed\n{ABLE}")).place(&set).unwrap_err();
    assert_eq!(taken, ["/a is there, which the process had deleted"]);
}

#[test]
fn nonsense_is_no_place() {
    for answer in ["", "end", "criu", "criu x.y", "space\nmemory x\nstat\nthere -1\nflags"] {
        assert!(guest(answer).place(&images(0)).is_err(), "{answer:?}");
    }
}

/// The script itself, on this machine, with paths as hostile as they come.
#[test]
fn the_script_finds_files_of_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let names: [&[u8]; 5] =
        [b"plain", b"sp ace", b"new\nline\n", b"$(touch x) `y` \\0", b"\xff\xfe*?'\""];
    let mut files = Vec::new();
    for (name, size) in names.iter().zip(1..) {
        let path =
            dir.path().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
        fs::write(&path, vec![0; size]).unwrap();
        files.push(file(path.into_os_string().into_encoded_bytes(), size as u64));
    }
    files.insert(2, file("/no/such file", 1));
    let set = ImageSet { files, tids: [std::process::id()].into(), ..images(0) };
    // Pipes instead of the port, which goes both ways.
    let script = include_str!("../preflight.sh").replace("<&3 >&3", "");
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request(&set).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let guest = guest(&String::from_utf8_lossy(&output.stdout));
    let problems = guest.file_problems(&set.files);
    assert_eq!(problems, ["/no/such file is missing"]);
    assert_eq!(guest.taken.len(), 1, "this very process");
    assert!(guest.pid_max > 1 && guest.memory_kib > 0 && guest.var_tmp_kib > 0);
    assert!(guest.flags.contains("fpu"));
}
