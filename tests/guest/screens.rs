//! Programs that a user works with on a terminal go on there.

use crate::harness::{Guest, Guests, Job, TestKernel, guests, kept, wait_for};

pub const FOLDER: &str = "/var/tmp/ovmigrate-tests/screen";

/// A program on a terminal whose master is with the process that runs it.
pub struct Screen<'a>(pub Job<'a>);

impl<'a> Screen<'a> {
    /// `command` is in both VMs, and works in [`FOLDER`].
    pub fn start(guests: &'a Guests, command: &[&str]) -> Self {
        for guest in [&guests.source, &guests.destination] {
            guest.sh(&format!("rm -rf {FOLDER}; mkdir -p {FOLDER}; seq 1 500 >{FOLDER}/text"));
        }
        let script = guests.source.program("screen.py");
        guests.destination.program("screen.py");
        let command = [&["python3", script.as_str(), FOLDER], command].concat();
        let command = TestKernel::chosen().for_criu(&command);
        Self(guests.source.spawn(&command).once_it_prints("ready"))
    }

    /// Types `keys`, with escapes of `printf`, and returns what comes.
    pub fn types(&self, keys: &str) -> Vec<u8> {
        self.0.guest.sh(&format!("printf '{keys}' >{FOLDER}/keys"));
        self.0.ask();
        self.0.guest.try_sh(&format!("cat {FOLDER}/screen")).stdout
    }

    /// The same where `expected` is what is to come.
    pub fn is_as_before(&self, keys: &str, expected: &[u8]) {
        self.0.guest.sh(&format!("cp {FOLDER}/screen {FOLDER}/expected"));
        let seen = self.types(keys);
        self.0.guest.sh(&format!("rm {FOLDER}/expected"));
        let [seen, expected] = [seen.as_slice(), expected].map(|s| s.escape_ascii().to_string());
        assert_eq!(seen, expected);
    }

    fn moved(self, guests: &'a Guests) -> Self {
        guests.save_under_load(self.0.pid);
        guests.copy_whole(&[FOLDER, &self.0.log]);
        guests.restore().stdout();
        guests.destination.adopt(self.0.pid);
        let Job { pid, log, .. } = self.0;
        Self(Job { guest: &guests.destination, pid, log })
    }

    /// Types what ends the program.
    fn ends(self, keys: &str) {
        self.0.guest.sh(&format!("printf '{keys}' >{FOLDER}/keys"));
        self.0.kill("USR1");
        self.0.wait_for_end();
        assert!(self.0.log().ends_with("ended\n"), "{}", self.0.log());
    }
}

#[test]
fn an_editor_is_moved_at_work() {
    let guests = guests();
    let screen = Screen::start(&guests, &["busybox", "vi", &format!("{FOLDER}/text")]);
    // What follows an escape at once would be a part of it.
    screen.types("5GIhello \\033");
    screen.types("jdd40Gixyz\\033");
    // Drawn again as a whole.
    let drawn = screen.types("\\014");
    assert!(drawn.len() > 80, "{}", drawn.escape_ascii());
    let screen = screen.moved(&guests);
    screen.is_as_before("\\014", &drawn);
    screen.ends(":wq\\n");
    let expected = "seq 1 500 | sed '5s/^/hello /;6d;41s/^/xyz/'";
    guests.destination.sh(&format!("{expected} | cmp - {FOLDER}/text"));
    kept(&["vi (busybox) on a terminal, at work"]);
}

/// Moves a pager that has gone on by three screens.
fn pager_is_moved(command: &[&str], state: &str) {
    let guests = guests();
    let text = format!("{FOLDER}/text");
    let screen = Screen::start(&guests, &[command, &[&text]].concat());
    screen.types("   ");
    let drawn = screen.types("r");
    assert!(drawn.windows(2).any(|bytes| bytes == b"70"), "{}", drawn.escape_ascii());
    let screen = screen.moved(&guests);
    screen.is_as_before("r", &drawn);
    screen.ends("q");
    kept(&[state]);
}

#[test]
fn a_pager_is_moved_at_work() {
    pager_is_moved(&["busybox", "less"], "less (busybox) on a terminal, at work");
}

#[test]
fn vim_is_moved_at_work() {
    let guests = guests();
    let screen =
        Screen::start(&guests, &["vim.tiny", "-N", "-u", "NONE", &format!("{FOLDER}/text")]);
    screen.types("5GIhello \\033");
    screen.types("jdd40Gixyz\\033");
    let drawn = screen.types("\\014");
    assert!(drawn.len() > 80, "{}", drawn.escape_ascii());
    let screen = screen.moved(&guests);
    screen.is_as_before("\\014", &drawn);
    // What was done before the move is undone, and done again.
    screen.types("uu");
    screen.types("\\022\\022");
    screen.ends(":wq\\n");
    let expected = "seq 1 500 | sed '5s/^/hello /;6d;41s/^/xyz/'";
    guests.destination.sh(&format!("{expected} | cmp - {FOLDER}/text"));
    kept(&["Vim on a terminal, at work"]);
}

#[test]
fn less_is_moved_at_work() {
    pager_is_moved(&["less"], "less on a terminal, at work");
}

#[test]
fn a_shell_goes_on_with_its_job() {
    let guests = guests();
    let screen = Screen::start(&guests, &["bash", "--norc", "-i"]);
    screen.types("x=42; cd /usr; sleep 300 &\\n");
    let screen = screen.moved(&guests);
    let has = |keys: &str, words: &str| {
        let seen = String::from_utf8_lossy(&screen.types(keys)).into_owned();
        assert!(seen.contains(words), "{words:?} is not in {seen:?}");
    };
    has("echo $x-$PWD\\n", "42-/usr\r\n");
    has("jobs\\n", "Running");
    has("echo $(ps -o comm=,tty= -p $!)\\n", "sleep pts/");
    // Job control needs all of it.
    has("fg\\n", "sleep 300\r\n");
    has("\\032", "Stopped");
    has("bg\\n", "sleep 300 &");
    has("fg\\n", "sleep 300\r\n");
    has("\\003", "^C");
    has("echo =$?=\\n", "=130=\r\n");
    screen.ends("exit\\n");
    kept(&["an interactive shell (bash) with a job in the background"]);
}

const TMUX: &str = "LC_ALL=C.UTF-8 tmux -L ovmigrate -f /dev/null";

/// What a pane shows once it has `words` and changes no more.
fn pane(guest: &Guest, number: u32, words: &str) -> String {
    let mut before = String::new();
    wait_for(&format!("{words:?} in pane {number}"), || {
        let shown = guest.sh(&format!("{TMUX} capture-pane -p -t {number}"));
        let is_all = shown.contains(words) && shown == before;
        before.clone_from(&shown);
        is_all.then_some(shown)
    })
}

#[test]
fn tmux_goes_on_with_its_panes() {
    let guests = guests();
    for guest in [&guests.source, &guests.destination] {
        guest.sh(&format!("{TMUX} kill-server 2>/dev/null || mkdir -p -m 700 /tmp/tmux-0"));
        guest.sh(&format!("rm -rf {FOLDER}; mkdir -p {FOLDER}; seq 1 500 >{FOLDER}/text"));
    }
    let without_rseq = TestKernel::chosen().for_criu(&[]).join(" ");
    guests.source.sh(&format!(
        "{without_rseq} {TMUX} new-session -d -x 80 -y 24 'bash --norc' && \
         {TMUX} split-window 'less {FOLDER}/text'"
    ));
    let types = |guest: &Guest, number: u32, keys: &str| {
        guest.sh(&format!("{TMUX} send-keys -t {number} {keys}"));
    };
    types(&guests.source, 0, "'x=42; sleep 300 &' Enter");
    types(&guests.source, 1, "Space");
    let before = [pane(&guests.source, 0, "[1]"), pane(&guests.source, 1, "\n20\n")];
    let pid = guests.source.sh("pgrep -x 'tmux: server'").trim().parse().expect("a PID");
    guests.source.adopt(pid);
    guests.save_under_load(pid);
    guests.copy_whole(&[FOLDER]);
    guests.restore().stdout();
    guests.destination.adopt(pid);
    let after =
        [0, 1].map(|number| guests.destination.sh(&format!("{TMUX} capture-pane -p -t {number}")));
    assert_eq!(after, before);
    types(&guests.destination, 0, "'jobs; echo =$x=' Enter");
    let shell = pane(&guests.destination, 0, "=42=");
    assert!(shell.contains("Running"), "{shell}");
    types(&guests.destination, 1, "Space");
    pane(&guests.destination, 1, "\n30\n");
    guests.destination.sh(&format!("{TMUX} split-window 'echo new; exec sleep 300'"));
    pane(&guests.destination, 2, "new");
    // A job that outlives its shell keeps the terminal.
    guests.destination.sh(&format!(
        "for pid in $({TMUX} list-panes -a -F '#{{pane_pid}}'); do pkill -KILL -s $pid; done; \
         {TMUX} kill-server || true"
    ));
    kept(&["tmux with two panes, a shell with a job and less"]);
}
