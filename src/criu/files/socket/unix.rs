//! Sockets of the Unix family.

use super::super::super::ids::{self, FileIds};
use super::super::super::{EncodeError, proto};
use super::super::owner;
use super::{get, options};
use crate::snapshot::{
    Id, KernelString, OpenFile, Snapshot, Socket, SocketState, UnixName, UnixSocket,
};

/// A socket.
///
/// One that is connected is not bound anew, unless it is said to be closed: that
/// state is looked at for nothing else where there is a peer (`bind_unix_sk()`,
/// `criu/sk-unix.c`).
pub fn entry(
    snapshot: &Snapshot,
    ids: &FileIds,
    id: u32,
    file: &OpenFile,
    (socket_id, unix): (Id<Socket>, &UnixSocket),
) -> Result<proto::UnixSkEntry, EncodeError> {
    let socket = get(snapshot, socket_id)?;
    let is_to_be_bound = unix.name.is_some() && socket.is_unix_connection();
    let state = if is_to_be_bound { SocketState::CLOSE } else { socket.state };
    let (mut file_perms, mut name_dir, mut is_deleted) = (None, None, false);
    if let Some(UnixName::Path { directory, uid, gid, mode, deleted, .. }) = &unix.name {
        file_perms = Some(proto::FilePermsEntry { mode: *mode, uid: *uid, gid: *gid });
        name_dir = directory.clone().map(KernelString::into_bytes);
        is_deleted = *deleted;
    }
    Ok(proto::UnixSkEntry {
        id,
        ino: ids.socket(socket_id)?,
        r#type: socket.kind.into(),
        state: state.into(),
        flags: file.flags,
        uflags: 0,
        backlog: unix.backlog,
        peer: unix.peer.map_or(Ok(0), |peer| ids.socket(peer))?,
        fown: owner(file.owner),
        opts: options::entry(&socket.options),
        name: unix.name.as_ref().map_or_else(Vec::new, UnixName::sun_path),
        shutdown: (socket.shutdown != 0).then(|| socket.shutdown.into()),
        file_perms,
        name_dir,
        deleted: is_deleted.then_some(true),
        ns_id: ids::root_ids().net_ns_id,
        mnt_id: None,
    })
}
