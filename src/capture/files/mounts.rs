//! Whether a path leads to the file that it is the path of.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::kernel::{Kernel, KernelError};
use crate::linux::{Dentry, Looks, Mount, Path, Stop, Struct};
use crate::memory::GuestVirt;

/// A place that a path leads to.
pub(super) type Place<'k> = (Mount<'k>, Dentry<'k>);

/// What is mounted.
#[derive(Default)]
pub(super) struct Mounts<'k> {
    /// What is mounted on the mounts that were looked at, by the dentry it hides.
    on: HashMap<GuestVirt, HashMap<GuestVirt, GuestVirt>>,
    all: Option<All<'k>>,
    /// Where paths were found to lead.
    pub(super) followed: HashMap<Vec<u8>, Place<'k>>,
    /// How many names in directories may still be looked at.
    pub(super) looks: Looks,
}

/// All mounts below the root directory.
struct All<'k> {
    mounts: HashSet<GuestVirt>,
    by_file_system: HashMap<GuestVirt, Vec<Mount<'k>>>,
}

impl<'k> Mounts<'k> {
    /// The mounts of a file system below the root directory `root`, the first `most`
    /// of them.
    pub(super) fn of(
        &mut self,
        root: &Path<'k>,
        file_system: GuestVirt,
        most: usize,
    ) -> Result<Vec<Mount<'k>>, KernelError> {
        let found = self.all(root)?.by_file_system.get(&file_system);
        Ok(found.into_iter().flatten().take(most).copied().collect())
    }

    /// Whether a mount is one of those below the root directory `root`.
    pub(super) fn has(&mut self, root: &Path<'k>, mount: &Mount<'k>) -> Result<bool, KernelError> {
        Ok(self.all(root)?.mounts.contains(&mount.addr()))
    }

    fn all(&mut self, root: &Path<'k>) -> Result<&All<'k>, KernelError> {
        let all = match self.all.take() {
            Some(known) => known,
            None => All::read(root)?,
        };
        Ok(self.all.insert(all))
    }

    /// Whether whoever follows a path from the root directory gets elsewhere
    /// than along this way, which ends there: something was mounted over it.
    pub(super) fn hide(&mut self, kernel: &Kernel, way: &[Stop]) -> Result<bool, KernelError> {
        is_hidden(way, |stop| self.mounted_on(kernel, stop.mount, stop.dentry))
    }

    /// The mount on a place, if there is any.
    pub(super) fn mounted_on(
        &mut self,
        kernel: &Kernel,
        mount: GuestVirt,
        dentry: GuestVirt,
    ) -> Result<Option<GuestVirt>, KernelError> {
        Ok(self.on(kernel, mount)?.get(&dentry).copied())
    }

    fn on(
        &mut self,
        kernel: &Kernel,
        mount: GuestVirt,
    ) -> Result<&HashMap<GuestVirt, GuestVirt>, KernelError> {
        Ok(match self.on.entry(mount) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let found = Mount::at(kernel, mount)?.mounted_on_it()?;
                let found = found.into_iter().map(|(hidden, child)| (hidden, child.addr()));
                free.insert(found.collect())
            }
        })
    }
}

impl<'k> All<'k> {
    fn read(root: &Path<'k>) -> Result<Self, KernelError> {
        let (mut mounts, mut by_file_system) = (HashSet::new(), HashMap::new());
        let first = Mount::container_of(root.kernel(), root.mnt()?, "mnt")?;
        for mount in first.all()? {
            mounts.insert(mount.addr());
            if let Some(file_system) = mount.mnt()?.sb()? {
                by_file_system.entry(file_system.addr()).or_insert_with(Vec::new).push(mount);
            }
        }
        Ok(Self { mounts, by_file_system })
    }
}

/// Whether whoever follows a path gets elsewhere; `mounted_on` finds the mount on
/// a place.
fn is_hidden(
    way: &[Stop],
    mut mounted_on: impl FnMut(&Stop) -> Result<Option<GuestVirt>, KernelError>,
) -> Result<bool, KernelError> {
    let mut above: Option<&Stop> = None;
    for (index, stop) in way.iter().enumerate() {
        let from = above.filter(|above| above.mount != stop.mount).map(|above| above.mount);
        above = Some(stop);
        if index + 1 == way.len() {
            // A path begins in the root directory itself, whatever is mounted
            // there.
            return Ok(from.is_some());
        }
        if mounted_on(stop)?.is_some_and(|mount| Some(mount) != from) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/mnt/a/file` with mount 2 on `/mnt` of mount 1, by mount and dentry.
    const WAY: [(u64, u64); 6] = [(2, 33), (2, 32), (2, 31), (1, 12), (1, 11), (1, 10)];

    fn hides(way: &[(u64, u64)], mounts: &[((u64, u64), u64)]) -> bool {
        let way: Vec<Stop> = way
            .iter()
            .map(|&(mount, dentry)| Stop {
                mount: GuestVirt::new(mount),
                dentry: GuestVirt::new(dentry),
                is_mounted: dentry == 31,
            })
            .collect();
        let mounted_on = |stop: &Stop| {
            let at = (stop.mount.get(), stop.dentry.get());
            let found = mounts.iter().find(|(place, _)| *place == at);
            Ok(found.map(|(_, mount)| GuestVirt::new(*mount)))
        };
        is_hidden(&way, mounted_on).expect("no kernel is read")
    }

    #[test]
    fn a_mount_hides_what_lies_below_its_place() {
        let own = ((1, 12), 2);
        assert!(!hides(&WAY, &[own]));
        // Over a directory on the way, over the file, over the mount's root, and
        // over a directory that it is mounted in.
        for place in [(2, 32), (2, 33), (2, 31), (1, 11)] {
            assert!(hides(&WAY, &[own, (place, 3)]), "{place:?}");
        }
        // Elsewhere, and where the path begins.
        assert!(!hides(&WAY, &[own, ((2, 34), 3), ((1, 10), 3)]));
        assert!(!hides(&WAY[5..], &[((1, 10), 3)]));
    }

    #[test]
    fn no_path_leads_into_what_is_mounted_on_the_root() {
        let way = [(2, 33), (2, 31), (1, 10)];
        assert!(hides(&way, &[((1, 10), 2)]));
    }
}
