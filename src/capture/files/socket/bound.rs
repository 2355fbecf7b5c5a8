//! Who is bound to the file of a path.
//!
//! A connection that was accepted has the path of the listener. CRIU binds one
//! socket to the path, and others for the moment in which that one's file is
//! moved aside, as it does where a path was deleted (`bind_on_deleted()`,
//! `criu/sk-unix.c`). Before, it deletes whatever socket is there.

use std::collections::{HashMap, HashSet};

use crate::kernel::KernelError;
use crate::linux::{Dentry, Looks, Struct, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{Id, Socket, SocketFamily, UnixName};

use super::super::super::obstacle::Obstacle;
use super::super::Files;
use super::super::outside::{Shared, Thing};
use super::super::stat::{S_IFMT, S_IFSOCK};

/// `UNIX_PATH_MAX`, which a name that is moved aside is shorter than.
const MAX_NAME: usize = 108;

impl<'k> Files<'k> {
    /// Finds for each file the one socket that is bound to it, and notes names
    /// that are another's by now.
    pub(super) fn own_names(&mut self) -> Result<Vec<Obstacle>, KernelError> {
        let owners = self.owners();
        let taken = self.taken_names(&owners)?;
        let mut obstacles = Vec::new();
        for (index, known) in (0..).zip(&self.sockets.known) {
            let id = Id::new(index);
            let Some(dentry) = known.bound_to else { continue };
            let Some(Socket { family: SocketFamily::Unix(unix), .. }) =
                self.tables.sockets.get_mut(id)
            else {
                continue;
            };
            let Some(UnixName::Path { path, deleted, .. }) = &mut unix.name else { continue };
            if *deleted {
                if taken.contains(&dentry.addr()) {
                    obstacles.push(known.obstacle(format!(
                        "a socket whose name {path} is another socket's by now"
                    )));
                }
                continue;
            }
            *deleted = owners.get(&dentry.addr()) != Some(&id);
            if *deleted && path.len() + 1 >= MAX_NAME {
                obstacles.push(known.obstacle(format!(
                    "a socket that shares the name {path}, longer than CRIU takes then"
                )));
            }
        }
        Ok(obstacles)
    }

    /// Those of the dentries of deleted sockets whose name another socket has by now,
    /// but for those that are made again.
    fn taken_names(
        &mut self,
        owners: &HashMap<GuestVirt, Id<Socket>>,
    ) -> Result<HashSet<GuestVirt>, KernelError> {
        let mut by_directory: HashMap<GuestVirt, Vec<Dentry<'k>>> = HashMap::new();
        for (index, known) in (0..).zip(&self.sockets.known) {
            let unix = self.unix(Id::new(index));
            let is_deleted = matches!(
                unix.and_then(|unix| unix.name.as_ref()),
                Some(UnixName::Path { deleted: true, .. })
            );
            if let Some(dentry) = known.bound_to.filter(|_| is_deleted) {
                by_directory.entry(dentry.parent()?).or_default().push(dentry);
            }
        }
        let mut taken = HashSet::new();
        for (directory, deleted) in by_directory {
            let looks = &mut self.mounts.looks;
            let found = settled(|| taken_in(directory, &deleted, owners, looks))?;
            taken.extend(found);
        }
        Ok(taken)
    }

    /// The socket that is bound to each file, by its dentry: rather one that is
    /// no connection, as those have the name from that one.
    fn owners(&self) -> HashMap<GuestVirt, Id<Socket>> {
        let mut owners: HashMap<GuestVirt, (bool, Id<Socket>)> = HashMap::new();
        for ((id, socket), known) in self.tables.sockets.iter().zip(&self.sockets.known) {
            let is_there = matches!(
                self.unix(id).and_then(|unix| unix.name.as_ref()),
                Some(UnixName::Path { deleted: false, .. })
            );
            if let Some(dentry) = known.bound_to.filter(|_| is_there) {
                let own = (socket.is_unix_connection(), id);
                let owner = owners.entry(dentry.addr()).or_insert(own);
                *owner = own.min(*owner);
            }
        }
        owners.into_iter().map(|(dentry, (_, id))| (dentry, id)).collect()
    }

    /// Notes names of connections whose listener is not in the tree, where a
    /// process outside may have it.
    pub(in super::super) fn names_of_others(&self) -> Vec<Shared<'_>> {
        let mut shared = Vec::new();
        for ((id, socket), known) in self.tables.sockets.iter().zip(&self.sockets.known) {
            let is_owner = matches!(
                self.unix(id).and_then(|unix| unix.name.as_ref()),
                Some(UnixName::Path { deleted: false, .. })
            );
            if let Some(dentry) = known.bound_to.filter(|_| is_owner && socket.is_unix_connection())
            {
                shared.push(Shared {
                    thing: Thing::Listener(dentry.addr()),
                    subject: &known.subject,
                    holder: &known.holder,
                    what: "has the name of a socket",
                    is_certain: false,
                });
            }
        }
        shared
    }
}

/// The same in one directory.
fn taken_in(
    directory: GuestVirt,
    deleted: &[Dentry<'_>],
    owners: &HashMap<GuestVirt, Id<Socket>>,
    looks: &mut Looks,
) -> Result<Vec<GuestVirt>, KernelError> {
    let Some(first) = deleted.first() else { return Ok(Vec::new()) };
    let names = deleted.iter().map(|dentry| dentry.name_bytes().map(|name| (name, dentry.addr())));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let wanted = names.iter().map(|(name, _)| name.clone()).collect();
    let there = Dentry::at(first.kernel(), directory)?.children_named(&wanted, looks)?;
    let mut sockets = HashSet::new();
    for (name, other) in there {
        let Some(inode) = other.inode()? else { continue };
        if inode.mode()? & S_IFMT == S_IFSOCK && !owners.contains_key(&other.addr()) {
            sockets.insert(name);
        }
    }
    let taken = names.into_iter().filter(|(name, _)| sockets.contains(name));
    Ok(taken.map(|(_, dentry)| dentry).collect())
}
