//! Sockets below TCP and UDP, and those that talk to the kernel.

use super::*;

fn good() -> Set {
    sample::image_set_of(&sample::with_raw_sockets())
}

fn files(set: &mut Set, f: impl Fn(&mut FileEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| files.iter_mut().for_each(&f));
}

/// The raw sockets over this family.
fn raw(set: &mut Set, family: u32, f: impl Fn(&mut InetSkEntry)) {
    files(set, |file| {
        file.isk.as_mut().filter(|inet| inet.family == family).into_iter().for_each(&f);
    });
}

fn options(set: &mut Set, f: impl Fn(&mut IpOptsEntry)) {
    raw(set, 2, |inet| f(inet.ip_opts.as_mut().expect("options")));
}

fn netlink(set: &mut Set, f: impl Fn(&mut NetlinkSkEntry)) {
    files(set, |file| file.nlsk.iter_mut().for_each(&f));
}

fn packet(set: &mut Set, f: impl Fn(&mut PacketSockEntry)) {
    files(set, |file| file.psk.iter_mut().for_each(&f));
}

#[test]
fn they_come_back_decoded() {
    let set = check(&good(), CheckOptions::default()).expect("a good set");
    let raw =
        set.files.values().filter_map(|file| file.isk.as_ref()?.ip_opts.as_ref()?.raw.as_ref());
    let filters: Vec<_> = raw.map(|raw| (raw.hdrincl, raw.icmpv_filter.as_slice())).collect();
    assert_eq!(filters, [(Some(true), &[7][..]), (Some(true), &[8; 8])]);
    let netlink = set.files.values().find_map(|file| file.nlsk.as_ref()).expect("a socket");
    assert_eq!((netlink.portid, netlink.groups.as_slice()), (100, &[2][..]));
    let packet = set.files.values().find_map(|file| file.psk.as_ref()).expect("a socket");
    assert_eq!((packet.protocol, packet.aux_data, packet.mclist.len()), (0xb588, true, 1));
}

#[test]
fn mistakes_in_them_are_found() {
    assert_found_in(
        &good(),
        &[
            (|s| raw(s, 2, |i| i.proto = 256), "files.img", "isk.proto"),
            (|s| raw(s, 2, |i| i.r#type = 1), "files.img", "isk.proto"),
            (|s| raw(s, 2, |i| (i.r#type, i.proto) = (2, 17)), "files.img", "isk.ip_opts.raw"),
            (|s| options(s, |o| o.raw = None), "files.img", "isk.ip_opts.raw"),
            (|s| raw(s, 10, |i| i.proto = 1), "files.img", "isk.ip_opts.raw.icmpv_filter"),
            (|s| raw(s, 2, |i| i.proto = 2), "files.img", "isk.ip_opts.raw.icmpv_filter"),
            (|s| raw(s, 2, |i| (i.proto, i.dst_port) = (6, 1)), "files.img", "isk.dst_port"),
            (|s| raw(s, 2, |i| i.state = 10), "files.img", "isk.state"),
            (|s| netlink(s, |n| n.id = 99), "files.img", "nlsk.id"),
            (|s| netlink(s, |n| n.protocol = 32), "files.img", "nlsk.protocol"),
            (|s| netlink(s, |n| n.state = 1), "files.img", "nlsk.state"),
            (|s| netlink(s, |n| n.groups = vec![1, 2]), "files.img", "nlsk.groups"),
            (|s| netlink(s, |n| n.portid = 0), "files.img", "nlsk.groups"),
            (|s| files(s, |f| f.nlsk = None), "files.img", "nlsk"),
            (|s| packet(s, |p| p.id = 99), "files.img", "psk.id"),
            (|s| packet(s, |p| p.r#type = 10), "files.img", "psk.type"),
            (|s| packet(s, |p| p.protocol = 0x1_0000), "files.img", "psk.protocol"),
            (|s| packet(s, |p| p.version = 3), "files.img", "psk.version"),
            (|s| packet(s, |p| p.mclist[0].r#type = 4), "files.img", "psk.mclist"),
            (|s| packet(s, |p| p.mclist[0].addr = vec![0; 33]), "files.img", "psk.mclist"),
            (
                |s| packet(s, |p| p.rx_ring = Some(PacketRing::default())),
                "files.img",
                "psk.rx_ring",
            ),
            (|s| files(s, |f| f.psk = None), "files.img", "psk"),
        ],
    );
}
