use std::fs;
use std::io::{BufRead, BufReader, Write};
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
    let pages = ImageFile { name: "pages-1.img".into(), size: bytes, compression: None };
    let tids = [1234].into();
    ImageSet { images: vec![pages], root: 1234, tids, ..ImageSet::empty(Path::new("/images")) }
}

fn file(path: impl AsRef<[u8]>, size: u64) -> ExpectedFile {
    let (path, size, mode) = (path.as_ref().to_owned(), Some(size), Some(0o100_644));
    ExpectedFile { path, size, mode, is_free: false }
}

#[test]
fn images_go_to_memory_or_to_the_disk() {
    let dir =
        |answer: &str, bytes| guest(answer).place(&images(bytes), Way::Port).map(|place| place.dir);
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
        guest(&answer).place(&set, Way::Port).unwrap_err(),
        [
            "tar is not installed",
            "CRIU 3.17 or later is needed, it has \"3.16\"",
            "PID 1234 is taken by \"some one\"",
            "its CPU lacks avx512f, which the process uses",
        ]
    );
    let many: String = (1..=12).map(|pid| format!("taken {pid} many\n")).collect();
    let problems = guest(&format!("{ABLE}{many}")).place(&images(0), Way::Port).unwrap_err();
    assert_eq!((problems.len(), problems[10].as_str()), (11, "2 more PIDs are taken"));
    let low = guest(&ABLE.replace("4194304", "1000")).place(&images(0), Way::Port).unwrap_err();
    assert_eq!(low, ["PID 1234 is above its kernel.pid_max of 1000"]);
}

#[test]
fn what_an_older_criu_would_lose_is_named() {
    let need =
        |field, since: &str| Need { pid: 9, what: "it", field, since: since.parse().unwrap() };
    let set = ImageSet { needs: vec![need("a.b", "3.18"), need("c", "4.1")], ..images(0) };
    let problems = |version: &str| {
        guest(&ABLE.replace("3.17.1", version)).place(&set, Way::Port).err().unwrap_or_default()
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
        guest(&answer).place(&set, Way::Port).unwrap_err(),
        [
            "/b is missing",
            "/c has 4 bytes, the process had 3",
            "/d has type 40755, the process had 100644",
        ]
    );
    // What does not add up is not taken for granted.
    let short = guest(&format!("there 0\nmissing 99\n{ABLE}")).place(&set, Way::Port).unwrap_err();
    assert_eq!(short, ["its files could not be looked at"]);
}

fn free(path: &str) -> ExpectedFile {
    ExpectedFile { path: path.into(), size: None, mode: None, is_free: true }
}

#[test]
fn the_place_of_a_deleted_directory_must_be_free() {
    let set = ImageSet { files: vec![free("/a")], ..images(0) };
    assert!(guest(&format!("missing 0\n{ABLE}")).place(&set, Way::Port).is_ok());
    let taken =
        guest(&format!("there 0\nstat 4096 41ed\n{ABLE}")).place(&set, Way::Port).unwrap_err();
    assert_eq!(taken, ["/a is there, which the process had deleted"]);
}

#[test]
fn nonsense_is_no_place() {
    for answer in ["", "end", "criu", "criu x.y", "space\nmemory x\nstat\nthere -1\nflags"] {
        assert!(guest(answer).place(&images(0), Way::Port).is_err(), "{answer:?}");
    }
}

/// What the script itself says of this machine.
fn this_machine(request: &str) -> Guest {
    // Pipes instead of the port, which goes both ways.
    let script = include_str!("../preflight.sh").replace("<&3 >&3", "");
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    guest(&String::from_utf8_lossy(&output.stdout))
}

#[test]
fn the_script_looks_at_terminals() {
    let said = |path: &str| this_machine(&request(&images(0), path.parse().ok().as_ref())).terminal;
    assert_eq!(said("/dev/null"), "none");
    assert_eq!(said("/dev/not-there"), "none");
    // A terminal, and at the next line a session that takes it.
    let script = "import os, pty, sys; m, s = pty.openpty(); print(os.ttyname(s), flush=True)\n\
                  input(); os.setsid(); x = os.open(os.ttyname(s), os.O_RDWR)\n\
                  print('taken', flush=True); input()";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    let mut output = BufReader::new(python.stdout.take().unwrap()).lines();
    let path = output.next().expect("a path").unwrap();
    assert_eq!(said(&path), "free");
    input.write_all(b"\n").unwrap();
    assert_eq!(output.next().expect("a word").unwrap(), "taken");
    let taken = said(&path);
    assert!(taken.starts_with(&format!("taken {} python", python.id())), "{taken}");
    drop(input);
    python.wait().unwrap();
}

#[test]
fn a_terminal_is_for_jobs_of_shells() {
    let problem = |tty: Option<&str>, answer: &str, foreign_session, wants_terminal| {
        let guest = Guest { tty: tty.map(str::to_owned), ..guest(&(ABLE.to_owned() + answer)) };
        let set = ImageSet { foreign_session, wants_terminal, ..images(0) };
        guest.place(&set, Way::Port).err().map(|problems| problems.join("; "))
    };
    assert_eq!(problem(None, "", false, false), None);
    assert_eq!(problem(None, "", true, false), None);
    assert!(problem(None, "", true, true).expect("a problem").contains("(--tty)"));
    let named = |answer, foreign| problem(Some("/dev/pts/3"), answer, foreign, foreign);
    assert_eq!(named("tty free\n", true), None);
    let not_wanted = named("tty free\n", false).expect("a problem");
    assert!(not_wanted.contains("leads a session of its own"), "{not_wanted}");
    let taken = named("tty taken 12 bash\n", true).expect("a problem");
    assert_eq!(taken, "/dev/pts/3 is the controlling terminal of 12 bash");
    for answer in ["", "tty none\n", "tty \n", "tty freed\n"] {
        let none = named(answer, true).expect("a problem");
        assert_eq!(none, "/dev/pts/3 is no terminal", "{answer:?}");
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
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let name = socket.to_str().unwrap().to_owned();
    let names = [name.clone().into_bytes()].into();
    let set = ImageSet { files, names, tids: [std::process::id()].into(), ..images(0) };
    let guest = this_machine(&request(&set, None));
    let problems = guest.file_problems(&set.files);
    assert_eq!(problems, ["/no/such file is missing"]);
    assert_eq!(guest.taken.len(), 1, "this very process");
    assert_eq!(guest.name_problems(&set.names), [format!("another socket is bound to {name}")]);
    assert!(guest.pid_max > 1 && guest.memory_kib > 0 && guest.var_tmp_kib > 0);
    assert!(guest.flags.contains("fpu"));
}

#[test]
fn pseudoterminals_must_be_free_and_within_reach() {
    let problems = |answer: &str, wanted: &[u32]| {
        let ptys = wanted.iter().copied().collect();
        guest(&(ABLE.to_owned() + answer)).place(&ImageSet { ptys, ..images(0) }, Way::Port).err()
    };
    assert_eq!(problems("ptys [0-9]*\n", &[0, 7, 31]), None);
    assert_eq!(problems("ptys 0 2\n", &[1, 32]), None);
    assert_eq!(problems("ptys 0 10 2\n", &[10]), Some(vec!["/dev/pts/10 is in use".to_owned()]));
    let far = problems("ptys 0\n", &[33]).expect("a problem");
    assert!(far[0].contains("/dev/pts/33 is out of CRIU's reach: 1 is free"), "{far:?}");
}

#[test]
fn apparmor_profiles_must_be_loaded() {
    let set = |name: &str| ImageSet { profiles: [name.to_owned()].into(), ..images(0) };
    assert!(request(&set("guarded"), None).contains("\nprofiles\n"));
    assert!(!request(&images(0), None).contains("profiles"));
    let able = guest(&ABLE.replace("end\n", "profile guarded (complain)\nprofile a b (enforce)\n"));
    for name in ["guarded", "a b"] {
        assert!(able.place(&set(name), Way::Port).is_ok(), "{name}");
    }
    let problems = able.place(&set("a"), Way::Port).unwrap_err();
    assert_eq!(problems, ["the AppArmor profile a is not loaded"]);
}

#[test]
fn names_of_other_sockets_are_not_taken() {
    let problems = |answer: &str, wanted: &[&str]| {
        let names = wanted.iter().map(|name| name.as_bytes().to_vec()).collect();
        guest(&(ABLE.to_owned() + answer)).place(&ImageSet { names, ..images(0) }, Way::Port).err()
    };
    assert_eq!(problems("bound /run/a b\nbound @x\n", &["/run/a", "@y"]), None);
    assert_eq!(
        problems("bound /run/a b\nbound @x\n", &["/run/a b", "@x"]),
        Some(["/run/a b", "@x"].map(|name| format!("another socket is bound to {name}")).to_vec())
    );
    let request = request(&ImageSet { names: [b"/a".to_vec()].into(), ..images(0) }, None);
    assert!(request.contains("\nnames\n"), "{request}");
}

#[test]
fn ports_of_netlink_must_be_free() {
    let problems = |answer: &str, wanted: &[(u32, u32)]| {
        let ports = wanted.iter().copied().collect();
        guest(&(ABLE.to_owned() + answer)).place(&ImageSet { ports, ..images(0) }, Way::Port).err()
    };
    let answer = "port Eth Pid\nport 0 500\nport 15 4294967295\nport 4 -3\n";
    assert_eq!(problems(answer, &[(0, 501), (15, 500)]), None);
    for (protocol, port) in [(0, 500), (15, u32::MAX), (4, u32::MAX - 2)] {
        let words = format!("another socket of netlink protocol {protocol} has the port {port}");
        assert_eq!(problems(answer, &[(protocol, port)]), Some(vec![words]));
    }
}
