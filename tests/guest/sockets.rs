//! Sockets are as they were, with what is in them.

use crate::harness::{guests, kept, ovmigrate, refused};

/// A program with sockets of these kinds is as it was.
fn are_as_they_were(program: &str, kinds: &[&str]) {
    let guests = guests();
    let job = guests.start(program, kinds, "ready");
    let restored = job.migrate(&guests, &[]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
}

/// What older versions of CRIU lose, by these fields, is refused for them by
/// name, and is as it was where the destination's version is a later one.
fn are_kept_by_later_criu(program: &str, kind: &str, fields: &[&str], state: &'static str) {
    let guests = guests();
    let job = guests.start(program, &[kind], "ready");
    let message = guests.save(job.pid, &["--for-criu", "3.17.1"]).error();
    for field in fields {
        assert!(message.contains(field), "{field} is not in {message}");
    }
    if let Some(words) = guests.refused_by_old_criu(&job, fields[0]) {
        assert!(job.ask().ends_with("done, 0 failures\n"), "{}", job.log());
        refused(state, &words);
        return;
    }
    let restored = job.migrate(&guests, &[]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&[state]);
}

#[test]
fn pairs_of_unix_sockets_are_as_they_were() {
    are_as_they_were("pairs", &["data", "empty", "ends", "options"]);
    kept(&[
        "Unix stream, datagram and seqpacket pairs with queued data",
        "Unix sockets that are shut down, fresh, or whose peer was closed",
        "options of Unix sockets, filters too",
    ]);
}

#[test]
fn descriptors_in_flight_are_as_they_were() {
    are_as_they_were("pairs", &["flight"]);
    kept(&["descriptors in flight over Unix sockets"]);
}

#[test]
fn pairs_between_processes_are_as_they_were() {
    are_as_they_were("pairs", &["kin"]);
    kept(&["Unix pairs between processes, with data and descriptors both ways"]);
}

/// CRIU has restored them since 3.18.
#[test]
fn descriptors_in_flight_from_who_closed_are_as_they_were() {
    are_kept_by_later_criu(
        "pairs",
        "closed_flight",
        &["sk_packet.scm"],
        "descriptors in flight to a Unix socket whose peer was closed",
    );
}

#[test]
fn unix_sockets_with_names_are_as_they_were() {
    are_as_they_were("named", &["listeners", "dotted", "connections", "datagrams"]);
    kept(&[
        "listening and bound Unix sockets, by path, abstract, relative or deleted",
        "accepted Unix connections with their names and data",
        "bound datagram sockets, connected ones, and who sent what is queued",
    ]);
}

#[test]
fn names_of_sockets_at_the_destination_are_not_taken() {
    let guests = guests();
    let there = guests.destination.start("named", &["pending"], "ready");
    let job = guests.start("named", &["pending"], "ready");
    guests.save(job.pid, &["--leave-running"]).stdout();
    guests.copy(&[&job.log]);
    let message = guests.restore().error();
    let words = "another socket is bound to /run/ovmigrate-named-queue";
    assert!(message.contains(words), "{words:?} is not in {message}");
    for job in [there, job] {
        assert!(job.ask().ends_with("done, 0 failures\n"), "{}", job.log());
    }
    refused("the name of a Unix socket at the destination", words);
}

#[test]
fn unix_connections_that_wait_are_as_they_were() {
    are_as_they_were("named", &["pending", "pending_data"]);
    kept(&["Unix connections that wait to be accepted, with data"]);
}

#[test]
fn unix_sockets_with_names_between_processes_are_as_they_were() {
    are_as_they_were("named", &["kin"]);
    kept(&["Unix connections of a child to its parent, accepted or not"]);
}

/// CRIU has restored them since 3.18.
#[test]
fn descriptors_in_flight_to_who_has_not_accepted_are_as_they_were() {
    are_kept_by_later_criu(
        "named",
        "pending_flight",
        &["sk_packet.scm"],
        "descriptors in flight over a Unix connection that was not accepted yet",
    );
}

#[test]
fn sockets_of_the_internet_are_as_they_were() {
    are_as_they_were("inet", &["tcp", "udp"]);
    kept(&[
        "listening, bound and fresh TCP sockets over IPv4 and IPv6",
        "bound, connected and fresh UDP sockets over IPv4 and IPv6",
    ]);
}

/// CRIU knows all of them since 4.0.
#[test]
fn later_options_of_the_internet_are_as_they_were() {
    are_kept_by_later_criu(
        "inet",
        "options",
        &["pktinfo", "tos", "ttl", "tcp_opts"],
        "TCP_NODELAY, TCP_CORK, IP_TOS, IP_TTL, IP_PKTINFO, IPV6_RECVPKTINFO",
    );
}

#[test]
fn tcp_connections_come_back_closed() {
    let guests = guests();
    let job = guests.start("inet", &["closed"], "ready");
    let (pid, source) = (job.pid.to_string(), guests.source.name);
    let found = ovmigrate(["check", "--domain", source, "--pid", &pid]).stdout;
    for words in [
        "is a TCP connection that is not to come back closed (--tcp-close)",
        "not accepted yet and are not to be closed (--tcp-close)",
    ] {
        assert!(found.contains(words), "{words:?} is not in {found}");
    }
    let restored = job.migrate_by(&guests, &["--tcp-close"], &[]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&["TCP connections, closed (--tcp-close)"]);
}

#[test]
fn sockets_of_netlink_are_as_they_were() {
    are_as_they_were("raw", &["netlink"]);
    kept(&["sockets of netlink: routes, events of devices, diagnosis, between processes"]);
}

#[test]
fn raw_sockets_are_as_they_were() {
    are_as_they_were("raw", &["raw", "connected"]);
    kept(&["raw sockets over IPv4 and IPv6, with their filters"]);
}

#[test]
fn sockets_of_packets_are_as_they_were() {
    are_as_they_were("raw", &["packet"]);
    kept(&["sockets of packets, with their options and memberships"]);
}

/// CRIU would take another address in silence.
#[test]
fn ports_of_netlink_at_the_destination_are_not_taken() {
    let guests = guests();
    let there = guests.destination.start("raw", &["netlink"], "ready");
    let job = guests.start("raw", &["netlink"], "ready");
    guests.save(job.pid, &["--leave-running"]).stdout();
    guests.copy(&[&job.log]);
    let message = guests.restore().error();
    let words = "another socket of netlink protocol 15 has the port 124076833";
    assert!(message.contains(words), "{words:?} is not in {message}");
    for job in [there, job] {
        assert!(job.ask().ends_with("done, 0 failures\n"), "{}", job.log());
    }
    refused("the address of a socket of netlink at the destination", words);
}
