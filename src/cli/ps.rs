//! `ovmigrate ps`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use ovmigrate::inspect::{self, Process};

use super::AttachArgs;
use super::output::{escaped, print, print_json};

/// List the processes of a VM as a tree.
///
/// Columns: THR threads; S state as ps(1) shows it; F is F where the freezer
/// trap holds all threads (`ovmigrate freeze`, a save, or the process's own
/// cgroup); UID effective user; RSS and SIZE resident and mapped memory in KiB.
/// The VM runs on meanwhile.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate ps --domain vm1
      PID    PPID  THR S F   UID      RSS       SIZE COMMAND
        1       0    1 S -     0     9876     100412 /sbin/init
      412       1    5 S -   101     3120     402184  \\_ /usr/bin/memcached -u memcache")]
pub struct Ps {
    #[command(flatten)]
    vm: AttachArgs,
    /// List the threads below processes that have more than one; all, in JSON.
    #[arg(long)]
    threads: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Ps {
    pub fn run(self) -> Result<()> {
        let attachment = self.vm.attach()?;
        let processes = inspect::processes(&attachment.kernel, self.threads)?;
        if self.json { print_json(&processes) } else { print(&table(&processes)) }
    }
}

fn table(processes: &[Process]) -> String {
    let mut text = format!(
        "{:>7} {:>7} {:>4} S F {:>5} {:>8} {:>10} COMMAND\n",
        "PID", "PPID", "THR", "UID", "RSS", "SIZE"
    );
    for (depth, process) in forest(processes) {
        row(&mut text, depth, process);
    }
    text
}

/// Processes with their depth, each below its parent. A process whose parent is
/// not there (or whose parents go in circles: the list is the guest's) begins
/// at depth 0.
fn forest(processes: &[Process]) -> Vec<(usize, &Process)> {
    let pids: HashSet<i32> = processes.iter().map(|process| process.pid).collect();
    let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
    let mut ready: Vec<(usize, &Process)> = Vec::new();
    for process in processes.iter().rev() {
        if pids.contains(&process.ppid) {
            children.entry(process.ppid).or_default().push(process);
        } else {
            ready.push((0, process));
        }
    }
    let mut ordered = Vec::with_capacity(processes.len());
    loop {
        while let Some((depth, process)) = ready.pop() {
            ordered.push((depth, process));
            let children = children.remove(&process.pid).unwrap_or_default();
            ready.extend(children.into_iter().map(|child| (depth + 1, child)));
        }
        // What is left is a circle.
        let Some((_, circle)) = children.pop_first() else { return ordered };
        ready.extend(circle.into_iter().map(|process| (0, process)));
    }
}

fn row(text: &mut String, depth: usize, process: &Process) {
    let Process { pid, ppid, threads, state, uid, .. } = process;
    let (resident, size) = (kib(process.resident), kib(process.size));
    let (frozen, branch) = (frozen(process.frozen), branch(depth));
    let command = escaped(&command(process));
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{pid:>7} {ppid:>7} {threads:>4} {state} {frozen} {uid:>5} {resident:>8} {size:>10} {branch}{command}"
    );
    // The only thread of a process is the process.
    let threads = if process.thread_list.len() > 1 { process.thread_list.as_slice() } else { &[] };
    for thread in threads {
        let _ = writeln!(
            text,
            "{:>7} {pid:>7} {:>4} {} {} {:>5} {:>8} {:>10} {}{{{}}}",
            thread.tid,
            "",
            thread.state,
            self::frozen(thread.frozen),
            "",
            "",
            "",
            self::branch(depth + 1),
            escaped(&thread.comm),
        );
    }
}

fn frozen(frozen: bool) -> char {
    if frozen { 'F' } else { '-' }
}

fn branch(depth: usize) -> String {
    // A chain of parents as long as it can be made is still to be printed.
    match depth.min(40) {
        0 => String::new(),
        depth => format!("{:1$}\\_ ", "", 4 * (depth - 1) + 1),
    }
}

/// The arguments, or the name in brackets, as ps(1) shows a process without.
fn command(process: &Process) -> String {
    match (process.state, process.arguments.as_slice()) {
        ('Z' | 'X', _) => format!("[{}] <defunct>", process.comm),
        (_, []) => format!("[{}]", process.comm),
        (_, arguments) => arguments.join(" "),
    }
}

fn kib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".into(), |bytes| (bytes / 1024).to_string())
}

#[cfg(test)]
mod tests {
    use ovmigrate::inspect::Thread;

    use super::*;

    fn process(pid: i32, ppid: i32) -> Process {
        Process {
            pid,
            ppid,
            comm: format!("p{pid}"),
            state: 'S',
            frozen: false,
            uid: 0,
            threads: 1,
            kernel_thread: false,
            resident: Some(8192),
            size: Some(16384),
            arguments: vec![format!("/bin/p{pid}"), "-x\x1b".into()],
            thread_list: Vec::new(),
        }
    }

    fn order(processes: &[Process]) -> Vec<(usize, i32)> {
        forest(processes).into_iter().map(|(depth, process)| (depth, process.pid)).collect()
    }

    #[test]
    fn children_are_below_their_parents_in_order() {
        let processes = [process(1, 0), process(2, 0), process(3, 5), process(5, 1), process(7, 1)];
        assert_eq!(order(&processes), [(0, 1), (1, 5), (2, 3), (1, 7), (0, 2)]);
    }

    #[test]
    fn parents_that_are_missing_or_go_in_circles_lose_nobody() {
        let processes =
            [process(1, 0), process(4, 99), process(5, 6), process(6, 5), process(7, 7)];
        let mut pids: Vec<i32> = order(&processes).into_iter().map(|(_, pid)| pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1, 4, 5, 6, 7]);
    }

    #[test]
    fn a_row_is_in_columns_and_safe_to_print() {
        let text = table(&[process(1, 0), process(20, 1)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1].find("/bin"), lines[0].find("COMMAND"));
        assert!(lines[2].ends_with(" 8         16  \\_ /bin/p20 -x\\033"), "{}", lines[2]);
        let thread = |tid| Thread { tid, comm: "t".into(), state: 'R', frozen: true, cpu: 1 };
        let threaded = Process { thread_list: vec![thread(30), thread(31)], ..process(30, 0) };
        let text = table(&[threaded]);
        let last = text.lines().last().unwrap();
        assert_eq!(
            last.split_whitespace().collect::<Vec<_>>(),
            ["31", "30", "R", "F", "\\_", "{t}"]
        );
        let zombie = Process { state: 'Z', arguments: Vec::new(), ..process(3, 1) };
        assert_eq!(command(&zombie), "[p3] <defunct>");
    }
}
