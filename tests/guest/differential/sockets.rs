//! Sockets.

use super::compare::{Differences, In};
use super::intended::{ALL, CRIU_3, CRIU_4, CRIU_4_2, EVERYWHERE, Intended, assert_intended};
use super::{Members, differing_in_tree};
use crate::harness::guests;

const OF_UNIX: &[Intended] = &[
    ("files.usk.opts.so_mark", In::Theirs, CRIU_3, "CRIU 3.17 writes it where it is 0, too"),
    (
        "files.usk.state",
        In::Both,
        ALL,
        "a connection with a name is said to be closed, so that it gets it",
    ),
    ("files.usk.deleted", In::Ours, ALL, "as above, where another socket is bound to the path"),
];

/// CRIU writes a socket once it has seen its peer. What was sent over a connection
/// that was not accepted CRIU 3.17 loses, and CRIU 4 does not dump: "Non-empty write
/// queue on an in-flight socket".
#[test]
fn images_of_unix_sockets_are_those_of_criu() {
    let guests = guests();
    let mut all = Differences::new();
    let pairs = ["data", "ends", "options", "flight", "closed_flight"];
    let named = ["listeners", "connections", "pending", "datagrams"];
    for (program, kinds, members) in [
        ("pairs", &pairs[..], 1),
        ("pairs", &["kin"], 2),
        ("named", &named, 1),
        ("named", &["kin"], 2),
    ] {
        let job = guests.source.start_for_criu(program, kinds, "ready");
        all.extend(differing_in_tree(&guests, &job, Members::living(members), &[]));
        job.end_all(program);
    }
    assert_intended(&all, &[EVERYWHERE, OF_UNIX]);
}

const OF_INTERNET: &[Intended] = &[
    ("files.isk.ip_opts.pktinfo", In::Ours, CRIU_3, "came with CRIU 4.0"),
    ("files.isk.ip_opts.tos", In::Ours, CRIU_3, "as above"),
    ("files.isk.ip_opts.ttl", In::Ours, CRIU_3, "as above"),
    ("files.isk.ip_opts.ttl", In::Theirs, CRIU_4, "CRIU writes the default, too"),
    ("files.isk.ns_id", In::Ours, ALL, "CRIU leaves it out where a socket is not bound"),
    ("files.isk.opts.so_mark", In::Theirs, CRIU_3, "CRIU 3.17 writes it where it is 0, too"),
    ("files.isk.opts.so_passcred", In::Ours, CRIU_4_2, "CRIU 4.2 writes none"),
    ("files.isk.opts.so_passsec", In::Ours, CRIU_4_2, "as above"),
    ("files.isk.opts.tcp_keepcnt", In::Theirs, CRIU_3, "as `ip_opts.ttl`"),
    ("files.isk.opts.tcp_keepidle", In::Theirs, CRIU_3, "as above"),
    ("files.isk.opts.tcp_keepintvl", In::Theirs, CRIU_3, "as above"),
    ("files.isk.opts.tcp_keepcnt", In::Ours, CRIU_4, "CRIU 4 writes them in `tcp_opts`"),
    ("files.isk.opts.tcp_keepidle", In::Ours, CRIU_4, "as above"),
    ("files.isk.opts.tcp_keepintvl", In::Ours, CRIU_4, "as above"),
    ("files.isk.tcp_opts.keepcnt", In::Theirs, CRIU_4, "as above, the default, too"),
    ("files.isk.tcp_opts.keepidle", In::Theirs, CRIU_4, "as above"),
    ("files.isk.tcp_opts.keepintvl", In::Theirs, CRIU_4, "as above"),
    ("files.isk.tcp_opts.cork", In::Ours, CRIU_3, "as `ip_opts.pktinfo`"),
    ("files.isk.tcp_opts.nodelay", In::Ours, CRIU_3, "as above"),
    ("files.nlsk.flags", In::Both, CRIU_3, "CRIU 3.17 forgets them"),
    ("files.nlsk.ns_id", In::Ours, ALL, "as `isk.ns_id`"),
    ("files.nlsk.opts.so_mark", In::Theirs, CRIU_3, "as `isk.opts.so_mark`"),
    (
        "files.nlsk.state",
        In::Both,
        ALL,
        "of what is not connected CRIU finds none where it is not bound",
    ),
    ("files.psk.opts.so_mark", In::Theirs, CRIU_3, "as `isk.opts.so_mark`"),
    ("files.psk.opts.so_passcred", In::Ours, CRIU_4_2, "as `isk.opts.so_passcred`"),
    ("files.psk.opts.so_passsec", In::Ours, CRIU_4_2, "as above"),
];

#[test]
fn images_of_sockets_of_the_internet_are_those_of_criu() {
    let guests = guests();
    let inet = guests.source.start_for_criu("inet", &["tcp", "udp", "options"], "ready");
    let mut all = differing_in_tree(&guests, &inet, Members::living(1), &[]);
    inet.end_all("inet");
    // CRIU takes a raw socket with a peer for a TCP connection.
    let kinds = ["netlink", "raw", "connected", "packet"];
    let raw = guests.source.start_for_criu("raw", &kinds, "ready");
    all.extend(differing_in_tree(&guests, &raw, Members::living(1), &["--tcp-close"]));
    raw.end_all("raw");
    assert_intended(&all, &[EVERYWHERE, OF_INTERNET]);
}

/// CRIU writes of a connection what it was, and a restore is to be told to close it;
/// `ovmigrate` writes the closed one.
const OF_CLOSED: &[Intended] = &[
    ("files.isk.dst_addr", In::Both, ALL, "see above"),
    ("files.isk.dst_port", In::Both, ALL, "see above"),
    ("files.isk.src_addr", In::Both, ALL, "see above"),
    ("files.isk.src_port", In::Both, ALL, "see above"),
    ("files.isk.state", In::Both, ALL, "see above"),
    ("files.isk.shutdown", In::Both, ALL, "see above"),
    ("files.isk.shutdown", In::Ours, ALL, "see above"),
    ("files.isk.tcp_opts.nodelay", In::Theirs, CRIU_4, "means nothing without a connection"),
    ("files.isk.ip_opts.ttl", In::Theirs, CRIU_4, "CRIU writes the default, too"),
    ("files.isk.opts.so_mark", In::Theirs, CRIU_3, "CRIU 3.17 writes it where it is 0, too"),
    ("files.isk.opts.so_passcred", In::Ours, CRIU_4_2, "CRIU 4.2 writes none"),
    ("files.isk.opts.so_passsec", In::Ours, CRIU_4_2, "as above"),
    ("files.isk.opts.tcp_keepcnt", In::Theirs, CRIU_3, "CRIU writes the default, too"),
    ("files.isk.opts.tcp_keepidle", In::Theirs, CRIU_3, "as above"),
    ("files.isk.opts.tcp_keepintvl", In::Theirs, CRIU_3, "as above"),
    ("files.isk.tcp_opts.keepcnt", In::Theirs, CRIU_4, "as above"),
    ("files.isk.tcp_opts.keepidle", In::Theirs, CRIU_4, "as above"),
    ("files.isk.tcp_opts.keepintvl", In::Theirs, CRIU_4, "as above"),
];

#[test]
fn images_of_closed_connections_are_those_of_criu() {
    let guests = guests();
    let inet = guests.source.start_for_criu("inet", &["closed"], "ready");
    let all = differing_in_tree(&guests, &inet, Members::living(1), &["--tcp-close"]);
    inet.end_all("inet");
    assert_intended(&all, &[EVERYWHERE, OF_CLOSED]);
}
