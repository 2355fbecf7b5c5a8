//! One disk out of pieces of files, as QEMU puts it together: a VMDK whose
//! descriptor names flat extents (`vmdk_parse_extents()`, `block/vmdk.c`). QEMU
//! has no other driver that joins files.

use std::fmt::Write as _;

use super::iso::{Layout, Source};

/// The unit of the descriptor, in bytes.
pub(super) const BLOCK: u64 = 512;

/// The descriptor of a disk. `name` tells under which name QEMU opens a source.
///
/// No line of it is empty: QEMU would take the next one twice, as `sscanf()`
/// skips the end of the line.
pub(super) fn descriptor(layout: &Layout, name: impl Fn(Source) -> String) -> String {
    let mut text = "# Disk DescriptorFile\n\
                    version=1\n\
                    CID=fffffffe\n\
                    parentCID=ffffffff\n\
                    createType=\"twoGbMaxExtentFlat\"\n"
        .to_owned();
    for piece in &layout.pieces {
        let (blocks, offset) = (piece.len / BLOCK, piece.offset / BLOCK);
        let _ = writeln!(text, "RW {blocks} FLAT \"{}\" {offset}", name(piece.source));
    }
    text.push_str("ddb.adapterType = \"ide\"\n");
    text
}

#[cfg(test)]
mod tests {
    use super::super::iso::{Entry, FENCE, SMALL};
    use super::*;

    #[test]
    fn each_piece_is_an_extent() {
        let files = [Entry { name: "a", size: 10 }, Entry { name: "b", size: SMALL + 4096 }];
        let layout = Layout::of(&files).unwrap();
        let name = |source| match source {
            Source::Memory => "/m".to_owned(),
            Source::File(file) => format!("/{file}"),
        };
        let text = descriptor(&layout, name);
        assert!(text.lines().all(|line| !line.is_empty()));
        let fence = FENCE / BLOCK;
        let extents: Vec<_> = text.lines().filter(|line| line.starts_with("RW ")).collect();
        let expected = [
            format!("RW {} FLAT \"/m\" 0", fence + 4),
            format!("RW {} FLAT \"/1\" 0", (SMALL + 4096) / BLOCK),
            format!("RW {fence} FLAT \"/m\" {}", fence + 4),
        ];
        assert_eq!(extents, expected);
    }
}
