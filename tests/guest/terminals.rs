//! Terminals are as they were.

use crate::harness::{Guest, Guests, Job, guests, kept, refused, wait_for};

/// The program, with terminals of these kinds open.
pub fn start<'g>(guests: &'g Guests, kinds: &[&str]) -> Job<'g> {
    // What a test left that was cut short.
    guests.source.end_all("terminals");
    guests.destination.end_all("terminals");
    guests.destination.program("terminals");
    guests.source.start_for_criu("terminals", kinds, "ready")
}

#[test]
fn terminals_are_as_they_were() {
    let guests = guests();
    let job = start(&guests, &["pairs", "control", "unread", "hung"]);
    guests.save(job.pid, &["--leave-running"]).stdout();
    std::fs::remove_dir_all(guests.images()).unwrap();
    let restored = job.migrate(&guests, &[]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    restored.end_all("terminals");
    kept(&[
        "pseudoterminals with both ends: settings, locked ones, window, packet mode, owner",
        "a pseudoterminal's master alone, its lock, an owner for signals of the other end",
        "a controlling terminal of a session's leader, the group in its foreground, /dev/tty",
        "what waits to be read from pseudoterminals, at both ends",
        "pseudoterminals whose master was closed",
    ]);
}

/// The number that the next terminal gets.
fn next_number(guest: &Guest) -> String {
    guest.sh("python3 -c 'import os, pty; print(os.ttyname(pty.openpty()[1]))'")
}

#[test]
fn all_in_a_session_have_its_terminal() {
    let guests = guests();
    let job = start(&guests, &["kin"]);
    guests.save(job.pid, &["--leave-running"]).stdout();
    std::fs::remove_dir_all(guests.images()).unwrap();
    let next = next_number(&guests.destination);
    let restored = job.migrate(&guests, &[]);
    for _ in 0..2 {
        let said = restored.ask();
        assert!(said.ends_with("done, 0 failures\n"), "{said}");
    }
    restored.end_all("terminals");
    // No reference to it is left.
    wait_for("the terminal is gone", || (next_number(&guests.destination) == next).then_some(()));
    kept(&["a controlling terminal of all in a session but those forked before it was"]);
}

/// What is made, Python statements that make it of a pseudoterminal with the ends
/// `m` and `s`, and what it is to be called.
const REFUSED: [(&str, &str, &str); 17] = [
    (
        "a terminal whose master others have",
        "os.set_inheritable(m, True); os.system('sleep 99 &'); os.close(m)",
        "whose master is with no process that is saved",
    ),
    (
        "a terminal that others have open, too",
        "os.set_inheritable(s, True); os.system('sleep 99 &')",
        "is a terminal that process",
    ),
    (
        "a controlling terminal whose master others have",
        "fcntl.ioctl(s, termios.TIOCSCTTY, 0); os.set_inheritable(m, True); \
         os.system('sleep 99 &'); os.close(m)",
        "whose other end is with no process that is saved",
    ),
    (
        "a controlling terminal whose foreground group has ended",
        "fcntl.ioctl(s, termios.TIOCSCTTY, 0); p = os.fork() or signal.pause(); os.setpgid(p, p); \
         signal.signal(signal.SIGTTOU, signal.SIG_IGN); os.tcsetpgrp(s, p); os.kill(p, 9); \
         os.waitpid(p, 0)",
        "whose foreground process group",
    ),
    (
        "a master whose other end was closed",
        "os.close(s)",
        "is a terminal whose other end was closed",
    ),
    ("an exclusive terminal", "fcntl.ioctl(s, termios.TIOCEXCL)", "(TIOCEXCL)"),
    (
        "a terminal whose output is stopped",
        "termios.tcflow(s, termios.TCOOFF)",
        "whose output is stopped (^S)",
    ),
    // N_NULL
    (
        "a line discipline other than N_TTY",
        "fcntl.ioctl(s, termios.TIOCSETD, struct.pack('i', 27))",
        "with a line discipline other than N_TTY",
    ),
    // TCGETS2 and TCSETS2
    (
        "a speed that has no name",
        "b = bytearray(44); fcntl.ioctl(s, 0x802c542a, b); b[8:12] = struct.pack('I', 0o10260); \
         b[36:44] = struct.pack('II', 12345, 12345); fcntl.ioctl(s, 0x402c542b, bytes(b))",
        "with a speed that has no name (BOTHER)",
    ),
    (
        "a change that packet mode has yet to tell",
        "fcntl.ioctl(m, termios.TIOCPKT, struct.pack('i', 1)); termios.tcflush(s, termios.TCIFLUSH)",
        "with a change that its packet mode has yet to tell",
    ),
    (
        "an owner for signals of a master",
        "fcntl.fcntl(m, fcntl.F_SETOWN, os.getpid())",
        "with an owner for signals (F_SETOWN)",
    ),
    (
        "a terminal that signals I/O",
        "fcntl.fcntl(s, fcntl.F_SETFL, os.O_ASYNC)",
        "is a pseudoterminal that signals I/O",
    ),
    ("a serial line", "x = os.open('/dev/ttyS0', os.O_RDWR | os.O_NOCTTY)", "line /dev/ttyS0"),
    ("the console", "x = os.open('/dev/console', os.O_RDWR | os.O_NOCTTY)", "(/dev/console)"),
    ("a virtual console", "x = os.open('/dev/tty3', os.O_RDWR | os.O_NOCTTY)", "console /dev/tty3"),
    (
        "input that restore would echo",
        "os.write(m, b'typed'); os.read(m, 5)",
        "5 bytes that were not read: written again, it would be echoed (ECHO)",
    ),
    (
        "output that restore would change",
        "a = termios.tcgetattr(s); a[1] = 0; termios.tcsetattr(s, termios.TCSANOW, a); \
         os.write(s, b'\\n'); a[1] = 5; termios.tcsetattr(s, termios.TCSANOW, a)",
        "1 bytes that were not read: written again, it would change (ONLCR)",
    ),
];

#[test]
fn what_is_not_restored_is_named_and_the_process_runs_on() {
    let guests = guests();
    for (state, statement, name) in REFUSED {
        let script = format!(
            "import fcntl, os, pty, signal, struct, termios\n\
             signal.signal(signal.SIGUSR1, lambda *_: print('done', flush=True))\n\
             m, s = pty.openpty()\n\
             {statement}\nprint('ready\\n', flush=True)\nwhile True: signal.pause()\n"
        );
        let job = guests.source.spawn(&["python3", "-c", &script]).once_it_prints("ready");
        let message = guests.save(job.pid, &[]).stderr;
        assert!(message.contains(name), "{statement}: {name:?} is not in {message}");
        assert!(!std::path::Path::new(&guests.images()).exists(), "{statement}: images are left");
        job.ask();
        job.guest.sh(&format!("kill -KILL -{}", job.pid));
        refused(state, name);
    }
}

/// Others have the number of a terminal there, one of them after a hangup.
#[test]
fn a_number_that_is_taken_is_named_before_anything_is_sent() {
    let guests = guests();
    let job = start(&guests, &["hung"]);
    guests.save(job.pid, &[]).stdout();
    guests.copy(&[&job.log]);
    for after in ["", "[os.close(master) for master, _ in x]"] {
        let script = format!(
            "import os, pty, signal\n\
             x = [pty.openpty() for _ in range(12)]\n\
             {after}\nprint('ready', flush=True)\nsignal.pause()\n"
        );
        let taken = guests.destination.spawn(&["python3", "-c", &script]).once_it_prints("ready");
        let message = guests.restore().error();
        assert!(message.contains("is in use"), "{message}");
        taken.kill("KILL");
        taken.wait_for_end();
    }
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    let restored = Job { guest: &guests.destination, pid: job.pid, log: job.log.clone() };
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    restored.end_all("terminals");
}
