//! Sockets and what is in their queues.

use super::*;

fn good() -> Set {
    sample::image_set_of(&sample::with_sockets())
}

/// The records of sockets of the Unix family, in the order of their inodes.
fn unix(set: &mut Set, number: usize, f: impl Fn(&mut UnixSkEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        let ino = 501 + number as u32;
        let mut sockets = files.iter_mut().filter_map(|file| file.usk.as_mut());
        f(sockets.find(|unix| unix.ino == ino).expect("a socket"));
    });
}

/// The records of sockets of the Internet: the first listens.
fn inet(set: &mut Set, number: usize, f: impl Fn(&mut InetSkEntry)) {
    change(set, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
        f(files.iter_mut().filter_map(|file| file.isk.as_mut()).nth(number).expect("a socket"));
    });
}

fn opts(set: &mut Set, f: impl Fn(&mut SkOptsEntry)) {
    unix(set, 0, |unix| f(&mut unix.opts));
}

/// The records of the queues, each with the bytes behind it.
fn packets(set: &mut Set, f: impl Fn(&mut Vec<SkPacketEntry>)) {
    let bytes = set.get_mut("sk-queues.img").expect("the image");
    let mut reader = ImageReader::new(ImageKind::SkQueues, Cursor::new(&*bytes)).expect("an image");
    let mut records = Vec::new();
    while let Some(packet) = reader.next_record::<SkPacketEntry>().expect("a record") {
        reader.skip_payload(packet.length.into()).expect("bytes");
        records.push(packet);
    }
    f(&mut records);
    let mut image = ImageWriter::new(ImageKind::SkQueues);
    for record in records {
        image.record(&record).expect("a record");
        image.payload(&vec![b'x'; record.length as usize]);
    }
    *bytes = image.finish();
}

#[test]
fn sockets_come_back_decoded() {
    let set = check(&good(), CheckOptions::default()).expect("a good set");
    let sockets: Vec<_> = set.files.values().filter_map(|file| file.usk.as_ref()).collect();
    let told: Vec<_> = sockets.iter().map(|unix| (unix.ino, unix.peer, unix.shutdown)).collect();
    assert_eq!(told, [(501, 502, None), (502, 501, None), (503, 0, Some(3))]);
    let queued: Vec<_> = set
        .sk_queues
        .iter()
        .map(|packet| (packet.id_for, packet.length, packet.scm.len()))
        .collect();
    assert_eq!(queued, [(sockets[0].id, 5, 0), (sockets[0].id, 4, 1)]);
}

/// It is made last, and so makes the pair.
#[test]
fn who_sends_descriptors_is_the_last_one_of_a_pair() {
    let set = good();
    let image = ImageReader::new(ImageKind::Files, set["files.img"].as_slice()).expect("an image");
    let files = image.records().collect::<Result<Vec<FileEntry>, _>>().expect("records");
    let inodes = files.iter().filter_map(|file| Some(file.usk.as_ref()?.ino));
    assert_eq!(inodes.collect::<Vec<_>>(), [501, 503, 502]);
}

#[test]
fn mistakes_in_sockets_are_found() {
    assert_found_in(
        &good(),
        &[
            (|s| unix(s, 0, |u| u.id = 99), "files.img", "usk.id"),
            (|s| unix(s, 2, |u| u.ino = 0), "files.img", "usk.ino"),
            (|s| unix(s, 2, |u| u.ino = 501), "files.img", "usk.ino"),
            (|s| unix(s, 0, |u| u.uflags = 1), "files.img", "usk.uflags"),
            (|s| unix(s, 2, |u| u.r#type = 3), "files.img", "usk.type"),
            (|s| unix(s, 0, |u| u.r#type = 2), "files.img", "usk.type"),
            (|s| unix(s, 0, |u| u.state = 2), "files.img", "usk.state"),
            (|s| unix(s, 0, |u| u.shutdown = Some(4)), "files.img", "usk.shutdown"),
            (|s| unix(s, 2, |u| u.shutdown = Some(1)), "files.img", "usk.shutdown"),
            (|s| unix(s, 0, |u| u.peer = 77), "files.img", "usk.peer"),
            (|s| unix(s, 0, |u| u.peer = 503), "files.img", "usk.peer"),
            (|s| opts(s, |o| o.so_snd_tmo_usec = 1_000_000), "files.img", "opts.so_snd_tmo_usec"),
            (|s| opts(s, |o| o.so_rcv_tmo_usec = 1_000_000), "files.img", "opts.so_rcv_tmo_usec"),
            (|s| opts(s, |o| o.so_buf_lock = Some(4)), "files.img", "opts.so_buf_lock"),
            (|s| opts(s, |o| o.so_filter = vec![6; 4097]), "files.img", "opts.so_filter"),
            (
                |s| opts(s, |o| o.so_bound_dev = Some(String::new())),
                "files.img",
                "opts.so_bound_dev",
            ),
            (
                |s| {
                    change(s, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
                        files
                            .iter_mut()
                            .filter(|file| file.usk.is_some())
                            .for_each(|file| file.usk = None);
                    })
                },
                "files.img",
                "usk",
            ),
        ],
    );
}

#[test]
fn mistakes_in_queues_are_found() {
    assert_found_in(
        &good(),
        &[
            (|s| packets(s, |p| p[0].id_for = 1), "sk-queues.img", "id_for"),
            // A socket that was never connected.
            (
                |s| {
                    unix(s, 2, |u| u.state = 7);
                    packets(s, |p| p[0].id_for = 12);
                },
                "sk-queues.img",
                "id_for",
            ),
            (|s| packets(s, |p| p[1].scm[0].r#type = 2), "sk-queues.img", "scm.type"),
            (|s| packets(s, |p| p[1].scm[0].rights = vec![]), "sk-queues.img", "scm.rights"),
            (|s| packets(s, |p| p[1].scm[0].rights = vec![1; 254]), "sk-queues.img", "scm.rights"),
            (|s| packets(s, |p| p[1].scm[0].rights = vec![99]), "sk-queues.img", "scm.rights"),
            (
                |s| {
                    packets(s, |p| {
                        let more = p[1].scm[0].clone();
                        p[1].scm.push(more);
                    })
                },
                "sk-queues.img",
                "scm",
            ),
            // The sender is closed in the only process that has it.
            (
                |s| {
                    change(s, ImageKind::Fdinfo, 2, |fds: &mut Vec<FdinfoEntry>| {
                        fds.retain(|entry| entry.fd != 22);
                    })
                },
                "sk-queues.img",
                "scm.rights",
            ),
        ],
    );
}

#[test]
fn mistakes_in_sockets_of_the_internet_are_found() {
    assert_found_in(
        &good(),
        &[
            (|s| inet(s, 0, |i| i.id = 99), "files.img", "isk.id"),
            (|s| inet(s, 0, |i| i.family = 3), "files.img", "isk.family"),
            (|s| inet(s, 0, |i| i.src_addr = vec![0]), "files.img", "isk.src_addr"),
            (|s| inet(s, 1, |i| i.dst_addr = vec![]), "files.img", "isk.dst_addr"),
            (|s| inet(s, 0, |i| i.src_port = 65536), "files.img", "isk.src_port"),
            (|s| inet(s, 0, |i| i.dst_port = 1), "files.img", "isk.dst_port"),
            (|s| inet(s, 1, |i| i.proto = 6), "files.img", "isk.proto"),
            (|s| inet(s, 0, |i| i.state = 1), "files.img", "isk.state"),
            (|s| inet(s, 1, |i| i.state = 10), "files.img", "isk.state"),
            (|s| inet(s, 1, |i| i.shutdown = Some(4)), "files.img", "isk.shutdown"),
            (|s| inet(s, 1, |i| i.opts.so_buf_lock = Some(4)), "files.img", "opts.so_buf_lock"),
            (
                |s| {
                    change(s, ImageKind::Files, 0, |files: &mut Vec<FileEntry>| {
                        files
                            .iter_mut()
                            .filter(|file| file.isk.is_some())
                            .for_each(|f| f.isk = None);
                    })
                },
                "files.img",
                "isk",
            ),
        ],
    );
}
