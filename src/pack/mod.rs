//! Pages files that are compressed.
//!
//! A packed file is what the usual tools of its format write and read: frames one
//! after the other, each of them some of the file's bytes in their order, and
//! frames that these tools skip:
//!
//! ```text
//! frame | padding | frame | padding | … | padding | seek table
//! ```
//!
//! Frames begin at multiples of [`ALIGNMENT`], so that they are written past the
//! host's page cache. The table at the end tells where they begin and how much is
//! in them: the seekable format of zstd's `contrib/seekable_format`, which lz4,
//! whose skippable frames are the same, reads over as well.
//!
//! Nothing here knows of pages or images.

mod frame;
mod reader;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};

pub use frame::{Frame, bound, pack};
pub use reader::Unpacked;
pub use table::SeekTable;

/// What frames begin at multiples of, in bytes: enough for direct I/O everywhere.
pub const ALIGNMENT: usize = 4096;

/// First word of a frame that is skipped, of which the last four bits are free
/// (RFC 8878, section 3.1.2; lz4's `doc/lz4_Frame_format.md`).
const SKIPPABLE: u32 = 0x184d_2a50;
/// Bytes of that and of the length behind it.
const SKIPPABLE_HEADER: usize = 8;

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Little CPU time.
    Lz4,
    /// More of it, and smaller.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lz4, Self::Zstd];

    /// What the name of a file ends with that is compressed so.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Lz4 => ".lz4",
            Self::Zstd => ".zst",
        }
    }

    /// Where a file lies that would lie at `plain` if it were not compressed.
    pub fn path_of(self, plain: &Path) -> PathBuf {
        let mut path = plain.as_os_str().to_owned();
        path.push(self.suffix());
        path.into()
    }

    /// What the name of a packed file would be without the suffix, and how it is
    /// compressed.
    pub fn of_name(name: &str) -> Option<(&str, Self)> {
        Self::ALL.iter().find_map(|&way| Some((name.strip_suffix(way.suffix())?, way)))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_tells_how_a_file_is_packed() {
        for way in Compression::ALL {
            let name = format!("pages-1.img{}", way.suffix());
            assert_eq!(Compression::of_name(&name), Some(("pages-1.img", way)));
        }
        assert_eq!(Compression::of_name("pages-1.img"), None);
    }
}
