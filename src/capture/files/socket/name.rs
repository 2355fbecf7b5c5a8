//! Names of Unix sockets.
//!
//! CRIU binds a socket anew by its name, as text (`bind_unix_sk()`,
//! `criu/sk-unix.c`). So the name has to lead to where the socket's file lies,
//! from the root directory that restore has.

use crate::kernel::KernelError;
use crate::linux::{Dentry, Path, Struct, UnixSock, settled};
use crate::snapshot::{KernelString, UnixName};

use super::super::super::obstacle::Obstacles;
use super::super::Files;

/// `UNIX_PATH_MAX` (`include/uapi/linux/un.h`): the longest name that CRIU takes.
const MAX_NAME: usize = 108;

impl<'k> Files<'k> {
    /// The name of a socket, if it has any.
    pub(super) fn unix_name(
        &mut self,
        unix: &UnixSock<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<UnixName>, KernelError> {
        let name = unix.sun_path()?;
        let (shown, found) = match name.as_slice() {
            [] => return Ok(None),
            [0, name @ ..] => {
                let name = UnixName::Abstract { name: name.to_vec() };
                (name.to_string(), Ok(name))
            }
            [path @ .., 0] if !path.contains(&0) => {
                let shown = KernelString::from(path).to_string();
                (shown, self.bound_path(path, &unix.path()?)?)
            }
            _ => ("..".into(), Err("is no name".into())),
        };
        match found {
            _ if name.len() > MAX_NAME => {
                obstacles.add(format!(
                    "{holder} is a Unix socket whose name {shown} is longer than CRIU takes"
                ));
            }
            Ok(name) => return Ok(Some(name)),
            Err(why) => {
                obstacles.add(format!("{holder} is a Unix socket whose name {shown} {why}"));
            }
        }
        Ok(None)
    }

    /// The name of a socket that is bound to a file, or why it would not lead
    /// there.
    fn bound_path(
        &mut self,
        text: &[u8],
        path: &Path<'k>,
    ) -> Result<Result<UnixName, String>, KernelError> {
        let dentry = path.dentry()?;
        let inode = dentry.map_or(Ok(None), |dentry| dentry.inode())?;
        let (Some(dentry), Some(inode)) = (dentry, inode) else {
            return Ok(Err("has no file".into()));
        };
        let resolved = path.resolve(&self.root)?;
        if resolved.in_deleted {
            return Ok(Err("was deleted with its directory".into()));
        }
        if let Some(why) = self.why_not_there(&resolved)? {
            return Ok(Err(why.into()));
        }
        // CRIU moves what it binds without a name aside, and takes less for it.
        if resolved.deleted && text.len() + 1 >= MAX_NAME {
            return Ok(Err("was deleted and is longer than CRIU takes".into()));
        }
        let own_path = KernelString::from(resolved.path.clone());
        let directory = match is_absolute(text) {
            true if self.leads_to_directory_of(text, path, &dentry)? => None,
            true => return Ok(Err(format!("does not lead to where it lies, {own_path}"))),
            false => match directory_of(&resolved.path, text) {
                Some(directory) => Some(KernelString::from(directory)),
                None => {
                    let why = format!("is relative and not the end of its path, {own_path}");
                    return Ok(Err(why));
                }
            },
        };
        Ok(Ok(UnixName::Path {
            path: text.into(),
            directory,
            uid: inode.uid()?,
            gid: inode.gid()?,
            mode: inode.mode()?,
            deleted: resolved.deleted,
        }))
    }

    /// Whether whoever follows an absolute path gets to the directory that a file
    /// lies, or lay, in, and its last component is the name of that.
    fn leads_to_directory_of(
        &mut self,
        text: &[u8],
        path: &Path<'k>,
        dentry: &Dentry<'k>,
    ) -> Result<bool, KernelError> {
        let Some(slash) = text.iter().rposition(|byte| *byte == b'/') else { return Ok(false) };
        let (directory, name) = (&text[..slash], &text[slash + 1..]);
        if dentry.name_bytes()? != name {
            return Ok(false);
        }
        let found = settled(|| self.mounts.follow(&self.root, directory))?;
        Ok(found.is_some_and(|(mount, directory)| {
            path.mnt().is_ok_and(|mnt| mount.mnt().is_ok_and(|found| found.addr() == mnt))
                && dentry.parent().is_ok_and(|parent| parent == directory.addr())
        }))
    }
}

fn is_absolute(path: &[u8]) -> bool {
    path.first() == Some(&b'/')
}

/// Where a relative name begins that leads to `path`.
fn directory_of(path: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut directory = path;
    for component in name.rsplit(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            component => {
                directory = directory.strip_suffix(component)?.strip_suffix(b"/")?;
            }
        }
    }
    Some(if directory.is_empty() { b"/".to_vec() } else { directory.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_name_begins_where_its_path_tells() {
        let of = |path: &str, name: &str| {
            let found = directory_of(path.as_bytes(), name.as_bytes());
            found.map(|found| String::from_utf8(found).expect("text"))
        };
        assert_eq!(of("/run/a/sock", "sock").as_deref(), Some("/run/a"));
        assert_eq!(of("/run/a/sock", "./a//./sock").as_deref(), Some("/run"));
        assert_eq!(of("/sock", "sock").as_deref(), Some("/"));
        for name in ["ock", "../a/sock", "b/sock", "x/run/a/sock"] {
            assert_eq!(of("/run/a/sock", name), None, "{name}");
        }
    }
}
