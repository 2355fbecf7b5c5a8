//! Where a path leads, as far as the guest has it in memory.

use crate::kernel::KernelError;
use crate::linux::{Dentry, Mount, Path, Struct};

use super::mounts::{Mounts, Place};
use super::stat::{S_IFLNK, S_IFMT};

/// Most symbolic links that are followed (`MAXSYMLINKS`, `include/linux/namei.h`).
const MAX_SYMLINKS: u32 = 40;
/// Most mounts on top of each other that are crossed at one place.
const MAX_STACKED: u32 = 100;

impl<'k> Mounts<'k> {
    /// The file that an absolute path leads to, symbolic links followed; `None`
    /// also where the guest does not have all of the way in memory, or it goes
    /// back (`..`).
    pub(super) fn follow(
        &mut self,
        root: &Path<'k>,
        path: &[u8],
    ) -> Result<Option<Place<'k>>, KernelError> {
        // Sockets have their names in a few directories.
        if let Some(known) = self.followed.get(path) {
            return Ok(Some(*known));
        }
        let Some(top) = root.dentry()? else { return Ok(None) };
        let root = (Mount::container_of(root.kernel(), root.mnt()?, "mnt")?, top);
        let mut at = root;
        // The components that are still to be followed, the next one last.
        let mut left: Vec<Vec<u8>> = Vec::new();
        push(&mut left, path);
        let mut symlinks = 0;
        while let Some(name) = left.pop() {
            if name == b".." {
                return Ok(None);
            }
            let Some(child) = at.1.child_named(&name, &mut self.looks)? else { return Ok(None) };
            let Some(inode) = child.inode()? else { return Ok(None) };
            if inode.mode()? & S_IFMT != S_IFLNK {
                let Some(top) = self.topmost((at.0, child))? else { return Ok(None) };
                at = top;
                continue;
            }
            symlinks += 1;
            let Some(text) = inode.link_text()?.filter(|_| symlinks <= MAX_SYMLINKS) else {
                return Ok(None);
            };
            if text.first() == Some(&b'/') {
                at = root;
            }
            push(&mut left, &text);
        }
        self.followed.insert(path.to_vec(), at);
        Ok(Some(at))
    }

    /// What is mounted at a place, if anything is.
    fn topmost(&mut self, mut at: Place<'k>) -> Result<Option<Place<'k>>, KernelError> {
        let kernel = at.1.kernel();
        for _ in 0..MAX_STACKED {
            let Some(mounted) = self.mounted_on(kernel, at.0.addr(), at.1.addr())? else {
                return Ok(Some(at));
            };
            let mount = Mount::at(kernel, mounted)?;
            at = (mount, Dentry::at(kernel, mount.mnt()?.root()?)?);
        }
        Ok(None)
    }
}

/// Adds the components of a path, to be followed before those that are there.
fn push(left: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.rsplit(|byte| *byte == b'/');
    let components = components.filter(|component| !matches!(*component, b"" | b"."));
    left.extend(components.map(<[u8]>::to_vec));
}
