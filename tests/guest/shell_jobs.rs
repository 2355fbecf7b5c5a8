//! Jobs of a shell that stays where it is go on on another terminal.

use crate::harness::{Guest, Guests, guests, kept, refused, wait_for};
use crate::screens::{FOLDER, Screen};

/// The process of this name that was started last.
pub fn newest(guest: &Guest, name: &str) -> i32 {
    guest.sh(&format!("pgrep -n -x {name}")).trim().parse().expect("a PID")
}

/// A terminal in the destination that no session has, and its path.
fn terminal(guests: &Guests) -> (Screen<'_>, String) {
    let script = guests.destination.program("screen.py");
    let job = guests.destination.spawn(&["python3", &script, FOLDER]).once_it_prints("ready");
    let log = job.log();
    let path = log.lines().find_map(|line| line.strip_prefix("terminal "));
    (Screen(job), path.expect("a path").to_owned())
}

/// What is typed, in words.
fn said(screen: &Screen<'_>, keys: &str) -> String {
    String::from_utf8_lossy(&screen.types(keys)).into_owned()
}

/// Until the session that a restore made has gone, with all that was in it.
fn wait_for_end_of_session(guests: &Guests, path: &str) {
    let script = format!("ps -t {path} -o pid= || true");
    wait_for("its session has ended", || guests.destination.sh(&script).is_empty().then_some(()));
}

#[test]
fn an_editor_goes_on_on_another_terminal() {
    let guests = guests();
    let shell = Screen::start(&guests, &["bash", "--norc", "-i"]);
    shell.types(&format!("busybox vi {FOLDER}/text\\n"));
    let pid = newest(&guests.source, "busybox");
    shell.types("5GIhello \\033");
    let drawn = shell.types("\\014");
    assert!(drawn.len() > 80, "{}", drawn.escape_ascii());
    let message = guests.save(pid, &[]).failure();
    let words = "it does not lead its session";
    assert!(message.contains(words), "{message}");
    refused("the job of a shell outside, without --shell-job", words);
    guests.save(pid, &["--shell-job"]).stdout();
    let goes_on = said(&shell, "echo $((40 + 2))\\n");
    assert!(goes_on.contains("42\r\n"), "the shell stays: {goes_on:?}");

    guests.copy_whole(&[FOLDER]);
    let (screen, path) = terminal(&guests);
    for (options, words) in [
        (vec![], "a terminal to go on on is to be named (--tty)"),
        (vec!["--tty", "/dev/null"], "/dev/null is no terminal"),
        (vec!["--tty", "/dev/ttyS0"], "/dev/ttyS0 is the controlling terminal of "),
    ] {
        let message = guests.restore_by(&options).failure();
        assert!(message.contains(words), "{options:?}: {message}");
    }
    guests.restore_by(&["--tty", &path]).stdout();
    guests.destination.adopt(pid);
    let of_terminal = format!("ps -o tty=,tpgid= -p {pid}");
    let of_terminal = guests.destination.sh(&of_terminal);
    let expected = [path.strip_prefix("/dev/").expect("a terminal"), &pid.to_string()];
    assert_eq!(of_terminal.split_whitespace().collect::<Vec<_>>(), expected);
    screen.is_as_before("\\014", &drawn);
    screen.types(":wq\\n");
    wait_for_end_of_session(&guests, &path);
    guests.destination.sh(&format!("seq 1 500 | sed '5s/^/hello /' | cmp - {FOLDER}/text"));
    kept(&["the job of a shell outside (vi), on another terminal (--shell-job)"]);
}

#[test]
fn a_shell_has_its_job_on_another_terminal() {
    let guests = guests();
    let shell = Screen::start(&guests, &["bash", "--norc", "-i"]);
    shell.types("exec 3>&-; bash --norc -i\\n");
    let pid = newest(&guests.source, "bash");
    shell.types("x=42; sleep 300 &\\n");
    guests.save(pid, &["--shell-job"]).stdout();
    guests.copy_whole(&[FOLDER]);
    let (screen, path) = terminal(&guests);
    guests.restore_by(&["--tty", &path]).stdout();
    guests.destination.adopt(pid);
    let name = path.strip_prefix("/dev/").expect("a terminal");
    let has = |keys: &str, words: &str| {
        let seen = said(&screen, keys);
        assert!(seen.contains(words), "{words:?} is not in {seen:?}");
    };
    has("echo =$x=\\n", "=42=\r\n");
    has("jobs\\n", "Running");
    has("echo $(ps -o comm=,tty= -p $!)\\n", &format!("sleep {name}\r\n"));
    // Job control needs all of it.
    has("fg\\n", "sleep 300\r\n");
    has("\\003", "^C");
    has("echo =$?=\\n", "=130=\r\n");
    screen.types("exit\\n");
    wait_for_end_of_session(&guests, &path);
    kept(&["an interactive shell with a job, on another terminal (--shell-job)"]);
}

/// What is made, Python statements that make it in the job of a shell, with the ends
/// `m` and `s` of its terminal, and what it is to be called.
const REFUSED: [(&str, &str, &str); 7] = [
    (
        "a job that does not lead its process group",
        "os.setpgid(0, os.getppid())",
        "it does not lead its process group",
    ),
    (
        "a job whose terminal was opened more than once",
        "x = os.open(os.ttyname(s), os.O_RDWR | os.O_NOCTTY)",
        "that was opened more than once",
    ),
    (
        "a job whose terminal was opened for reading",
        "t = os.open(os.ttyname(s), os.O_RDONLY | os.O_NOCTTY); os.close(s)",
        "that was opened for other than reading and writing",
    ),
    ("a job with input that it has not read", "os.write(m, b'typed\\n')", "6 bytes that were not"),
    (
        "a job that has not opened its controlling terminal",
        "os.close(s)",
        "it has a controlling terminal that no process has open",
    ),
    (
        "a job of which a process has given up its controlling terminal",
        "os.fork() or (fcntl.ioctl(s, termios.TIOCNOTTY), \
         [signal.pause() for _ in iter(int, 1)])",
        "it has no controlling terminal, unlike others",
    ),
    (
        "a job with another of its own in the foreground",
        "p = os.fork() or os.close(m) or [signal.pause() for _ in iter(int, 1)]; \
         os.setpgid(p, p); os.tcsetpgrp(s, p)",
        "whose foreground process group is another one",
    ),
];

#[test]
fn what_is_not_restored_of_a_job_is_named_and_it_runs_on() {
    let guests = guests();
    for (state, statement, name) in REFUSED {
        let script = format!(
            "import fcntl, os, pty, signal, termios\n\
             signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n\
             m, s = pty.openpty()\n\
             fcntl.ioctl(s, termios.TIOCSCTTY, 0)\n\
             while os.fork(): signal.pause()\n\
             os.setpgid(0, 0)\n\
             signal.signal(signal.SIGUSR1, lambda *_: print('done', flush=True))\n\
             {statement}\nos.close(m)\n\
             print('job', os.getpid(), 'is ready', flush=True)\n\
             while True: signal.pause()\n"
        );
        let shell = guests.source.spawn(&["python3", "-c", &script]).once_it_prints("ready");
        let log = shell.log();
        let pid: i32 = log.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a PID");
        let message = guests.save(pid, &["--shell-job"]).stderr;
        assert!(message.contains(name), "{statement}: {name:?} is not in {message}");
        assert!(!std::path::Path::new(&guests.images()).exists(), "{statement}: images are left");
        shell.guest.sh(&format!("kill -USR1 {pid}"));
        wait_for("it runs on", || shell.log().contains("done").then_some(()));
        shell.guest.sh(&format!("pkill -KILL -s {}", shell.pid));
        refused(state, name);
    }
}
