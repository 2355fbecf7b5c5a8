//! Files that have no name any more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

/// A regular file or a directory that was deleted while it was open: nothing
/// but the snapshot holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GhostFile {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Device, as `stat()` gives it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Last access.
    pub atime: FileTime,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Size in bytes; 0 of a directory.
    pub size: u64,
    /// What is in it, by ascending offset; all else are holes.
    pub chunks: Vec<Chunk>,
}

/// A time that a file keeps, since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FileTime {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds beyond.
    pub nanoseconds: u32,
}

/// A part of a file.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What is there.
    #[serde_as(as = "Hex")]
    pub data: Vec<u8>,
}

/// A file that restore opens by its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedFile<'a> {
    /// The path.
    pub path: &'a [u8],
    /// The number of the [`GhostFile`] that it is.
    pub ghost: Option<u32>,
    /// Whether that is a directory.
    pub is_directory: bool,
}

/// The numbers of deleted directories whose paths lead to other files as well, or
/// on to them. Restore makes a deleted directory where it was, unless there is
/// one of the name, and deletes it once it is open (`create_ghost_dentry()` and
/// `clean_one_remap()`, `criu/files-reg.c`): another one would go with it, or
/// the restore fails.
pub fn taken_directories(files: &[NamedFile<'_>]) -> BTreeSet<u32> {
    let mut by_path: BTreeMap<&[u8], BTreeSet<Option<u32>>> = BTreeMap::new();
    for file in files {
        by_path.entry(file.path).or_default().insert(file.ghost);
    }
    let is_taken = |path: &[u8]| {
        let inside = [path, b"/"].concat();
        let next = by_path.range(inside.as_slice()..).next();
        by_path.get(path).is_some_and(|known| known.len() > 1)
            || next.is_some_and(|(path, _)| path.starts_with(&inside))
    };
    let directories = files.iter().filter(|file| file.is_directory && is_taken(file.path));
    directories.filter_map(|file| file.ghost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(others: &[(&str, Option<u32>)]) -> bool {
        let directory = NamedFile { path: b"/a/b", ghost: Some(1), is_directory: true };
        let others = others.iter().map(|&(path, ghost)| NamedFile {
            path: path.as_bytes(),
            ghost,
            is_directory: false,
        });
        let files: Vec<_> = [directory, directory].into_iter().chain(others).collect();
        taken_directories(&files) == [1].into()
    }

    #[test]
    fn the_name_of_a_deleted_directory_is_free_or_taken() {
        assert!(!taken(&[]));
        assert!(!taken(&[("/a", None), ("/a/b-c", None), ("/a/bc", Some(2)), ("/a/c", None)]));
        for path in ["/a/b", "/a/b/c", "/a/b/c/d"] {
            assert!(taken(&[("/a/b-c", None), (path, None)]), "{path}");
            assert!(taken(&[(path, Some(2))]), "{path}");
        }
    }
}
