//! `ovmigrate inspect`.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use ovmigrate::inspect::{Credentials, Details, Limit, Namespaces, Signals};

use super::AttachArgs;
use super::output::{escaped, print, print_json};

/// Show one process of a VM: identity, credentials, signals, limits, threads,
/// memory map and open files.
///
/// The figures are those of the guest's own /proc/PID/{status,limits,maps,fd},
/// in the same notation, and paths are as the guest's init sees them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate inspect --domain vm1 --pid 1234
  $ ovmigrate inspect --domain vm1 --pid 1234 --json | jq '.files[].name'")]
pub struct Inspect {
    #[command(flatten)]
    vm: AttachArgs,
    /// The process: its PID as root in the VM sees it.
    #[arg(short, long)]
    pid: i32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self) -> Result<()> {
        let attachment = self.vm.attach()?;
        let details = Details::of(&attachment.kernel, self.pid)?;
        if self.json { print_json(&details) } else { print(&report(&details)) }
    }
}

fn report(details: &Details) -> String {
    let mut sections = vec![
        ("process", identity(details)),
        ("credentials", credentials(&details.credentials)),
        ("signals", signals(details.signals)),
        ("limits", limits(&details.limits)),
        ("threads", threads(details)),
        ("maps", lines(&details.maps)),
        ("files", files(details)),
    ];
    sections.retain(|(_, body)| !body.is_empty());
    sections.iter().map(|(title, body)| format!("{title}:\n{body}")).collect::<Vec<_>>().join("\n")
}

fn identity(details: &Details) -> String {
    let namespaces = details.namespaces.map(|namespaces| {
        let Namespaces { cgroup, ipc, mnt, net, pid, time, user, uts } = namespaces;
        format!(
            "cgroup {cgroup}, ipc {ipc}, mnt {mnt}, net {net}, pid {pid}, time {time}, \
             user {user}, uts {uts}"
        )
    });
    let ids = format!(
        "{} (parent {}, group {}, session {}, in its own namespace {})",
        details.pid, details.ppid, details.pgid, details.sid, details.own_pid
    );
    let arguments = (!details.arguments.is_empty()).then(|| details.arguments.join(" "));
    rows(&[
        ("pid", Some(ids)),
        ("comm", Some(details.comm.clone())),
        ("command", arguments),
        ("state", Some(details.state.to_string())),
        ("exe", details.exe.clone()),
        ("cwd", details.cwd.clone()),
        ("root", details.root.clone()),
        ("umask", details.umask.map(|umask| format!("{umask:04o}"))),
        ("namespaces", namespaces),
    ])
}

fn credentials(credentials: &Credentials) -> String {
    let four = |ids: [u32; 4]| {
        let [real, effective, saved, fs] = ids;
        Some(format!("real {real}, effective {effective}, saved {saved}, file system {fs}"))
    };
    let set = |capabilities: u64| Some(format!("{capabilities:016x}"));
    let groups: Vec<String> = credentials.groups.iter().map(ToString::to_string).collect();
    rows(&[
        ("uid", four(credentials.uids)),
        ("gid", four(credentials.gids)),
        ("groups", (!groups.is_empty()).then(|| groups.join(" "))),
        ("CapInh", set(credentials.cap_inheritable)),
        ("CapPrm", set(credentials.cap_permitted)),
        ("CapEff", set(credentials.cap_effective)),
        ("CapBnd", set(credentials.cap_bounding)),
        ("CapAmb", set(credentials.cap_ambient)),
        ("NoNewPrivs", Some(u8::from(credentials.no_new_privileges).to_string())),
        ("Seccomp", Some(credentials.seccomp.to_string())),
    ])
}

fn signals(signals: Signals) -> String {
    let set = |signals: u64| Some(format!("{signals:016x}"));
    rows(&[
        ("SigPnd", set(signals.pending)),
        ("ShdPnd", set(signals.shared_pending)),
        ("SigBlk", set(signals.blocked)),
        ("SigIgn", set(signals.ignored)),
        ("SigCgt", set(signals.caught)),
    ])
}

fn limits(limits: &[Limit]) -> String {
    let show =
        |value: Option<u64>| value.map_or_else(|| "unlimited".into(), |value| value.to_string());
    limits.iter().fold(String::new(), |mut text, limit| {
        let (soft, hard) = (show(limit.soft), show(limit.hard));
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<25} {soft:<20} {hard:<20} {}", limit.name, limit.unit);
        text
    })
}

fn threads(details: &Details) -> String {
    details.threads.iter().fold(String::new(), |mut text, thread| {
        let frozen = if thread.frozen { " frozen" } else { "" };
        let _ = writeln!(
            text,
            "  {:>7} {} cpu {}{frozen} {}",
            thread.tid,
            thread.state,
            thread.cpu,
            escaped(&thread.comm)
        );
        text
    })
}

fn files(details: &Details) -> String {
    details.files.iter().fold(String::new(), |mut text, file| {
        let name = escaped(&file.name);
        let _ =
            writeln!(text, "  {:>3} flags 0{:o} pos {} {name}", file.fd, file.flags, file.position);
        text
    })
}

fn lines(items: &[impl ToString]) -> String {
    items.iter().map(|item| format!("  {}\n", item.to_string())).collect()
}

fn rows(rows: &[(&str, Option<String>)]) -> String {
    let known = rows.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    known.map(|(name, value)| format!("  {name:<10} {}\n", escaped(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_as_in_proc() {
        let limit = Limit { name: "Max open files", soft: Some(1024), hard: None, unit: "files" };
        assert_eq!(
            limits(&[limit]),
            "  Max open files            1024                 unlimited            files\n"
        );
    }

    #[test]
    fn signal_sets_are_sixteen_digits() {
        let sets =
            Signals { pending: 0, shared_pending: 1, blocked: 2, ignored: 4, caught: 1 << 63 };
        let text = signals(sets);
        assert!(text.contains("ShdPnd     0000000000000001\n"), "{text}");
        assert!(text.contains("SigCgt     8000000000000000\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_has_no_row_and_the_rest_is_safe() {
        let text = rows(&[("exe", None), ("comm", Some("a\nb".into()))]);
        assert_eq!(text, "  comm       a\\012b\n");
    }
}
