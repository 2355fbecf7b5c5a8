//! `sk-queues.img`: what sockets have received and nobody has taken. Restore
//! has the peer of each send it again.

use super::super::super::container::{ImageKind, ImageWriter};
use super::super::super::ids::{FileIds, FileUse};
use super::super::super::{EncodeError, Images, proto};
use super::queue_of;
use crate::snapshot::{OpenFileKind, Packet, Snapshot, SocketKind};

/// `include/linux/socket.h`
pub const SCM_RIGHTS: u32 = 1;

/// The queues, if there is anything in them.
pub fn add_queues(
    snapshot: &Snapshot,
    ids: &FileIds,
    images: &mut Images,
) -> Result<(), EncodeError> {
    let mut image = ImageWriter::new(ImageKind::SkQueues);
    let mut is_empty = true;
    for (file, open) in snapshot.files.iter() {
        let OpenFileKind::Socket { socket } = open.kind else { continue };
        let socket = super::get(snapshot, socket)?;
        let id_for = ids.get(FileUse::Open(file))?;
        for packet in joined(queue_of(socket), socket.kind == SocketKind::STREAM) {
            image.record(&entry(ids, id_for, &packet)?)?;
            image.payload(&packet.data);
            is_empty = false;
        }
    }
    if !is_empty {
        images.add(ImageKind::SkQueues, 0, image.finish());
    }
    Ok(())
}

fn entry(ids: &FileIds, id_for: u32, packet: &Packet) -> Result<proto::SkPacketEntry, EncodeError> {
    let rights = packet.files.iter().map(|file| ids.get(FileUse::Open(*file)));
    let rights = rights.collect::<Result<Vec<_>, _>>()?;
    let scm = match rights.is_empty() {
        true => Vec::new(),
        false => vec![proto::ScmEntry { r#type: SCM_RIGHTS, rights }],
    };
    Ok(proto::SkPacketEntry { id_for, length: packet.data.len() as u32, scm })
}

/// The packets as they are sent again. The bytes of a stream belong together but
/// where a descriptor comes with the first ones of a packet: each buffer that
/// restore makes costs memory besides.
fn joined(queue: &[Packet], is_stream: bool) -> Vec<Packet> {
    /// As CRIU has it, no more than a socket can send in one go by default.
    const MOST: usize = 128 << 10;
    let mut joined: Vec<Packet> = Vec::new();
    for packet in queue {
        match joined.last_mut() {
            Some(last)
                if is_stream
                    && packet.files.is_empty()
                    && last.files.is_empty()
                    && last.data.len() + packet.data.len() <= MOST =>
            {
                last.data.extend(&packet.data);
            }
            _ => joined.push(packet.clone()),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Id;

    #[test]
    fn bytes_of_a_stream_are_joined_up_to_where_descriptors_are() {
        let packet = |data: &str, files: &[u32]| Packet {
            data: data.into(),
            files: files.iter().map(|file| Id::new(*file)).collect(),
        };
        let queue = [packet("a", &[]), packet("b", &[]), packet("c", &[7]), packet("d", &[])];
        let stream = [packet("ab", &[]), packet("c", &[7]), packet("d", &[])];
        assert_eq!(joined(&queue, true), stream);
        assert_eq!(joined(&queue, false), queue);
        let large = packet(&"x".repeat(100 << 10), &[]);
        assert_eq!(joined(&[large.clone(), large.clone()], true).len(), 2);
    }
}
