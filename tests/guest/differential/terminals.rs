//! Terminals, and jobs of a shell on one.

use super::compare::{Differences, In};
use super::intended::{ALL, EVERYWHERE, Intended, assert_intended};
use super::{Members, differing_in_tree};
use crate::harness::{Job, guests};
use crate::screens::Screen;
use crate::shell_jobs::newest;
use crate::terminals;

const INTENDED: &[Intended] = &[
    ("files.tty.data", In::Both, ALL, "CRIU has what was processed, which is processed again"),
    (
        "files.tty.info.sid",
        In::Both,
        ALL,
        "the master tells it; CRIU has it for the other end, too",
    ),
    ("files.tty.info.pgrp", In::Both, ALL, "as above"),
    (
        "files.tty.info.termios_locked",
        In::Both,
        ALL,
        "is set with the other end, after what it locks",
    ),
    ("pstree.has_terminal", In::Ours, ALL, "CRIU does not give it to others than the leader"),
];

#[test]
fn images_of_terminals_are_those_of_criu() {
    let guests = guests();
    let mut all = Differences::new();
    for (kinds, members) in [(&["pairs", "session", "unread", "hung"][..], 6), (&["kin"], 4)] {
        let terminals = terminals::start(&guests, kinds);
        all.extend(differing_in_tree(&guests, &terminals, Members::living(members), &[]));
        terminals.end_all("terminals");
    }
    assert_intended(&all, &[EVERYWHERE, INTENDED]);
}

const OF_JOBS: &[Intended] = &[
    ("files.tty.info.sid", In::Both, ALL, "restore gives it the terminal itself"),
    ("files.tty.info.pgrp", In::Both, ALL, "as above"),
];

#[test]
fn images_of_the_job_of_a_shell_are_those_of_criu() {
    let guests = guests();
    let shell = Screen::start(&guests, &["bash", "--norc", "-i"]);
    shell.types("exec 3>&-; bash --norc -i\\n");
    let pid = newest(&guests.source, "bash");
    shell.types("perl -e sleep &\\n");
    let job = Job { guest: &guests.source, pid, log: format!("{}.job", shell.0.log) };
    let all = differing_in_tree(&guests, &job, Members::living(2), &["--shell-job"]);
    assert_intended(&all, &[EVERYWHERE, OF_JOBS]);
}
