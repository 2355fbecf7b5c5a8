//! bzImage: what a boot loader loads, with the kernel packed in it
//! (Documentation/arch/x86/boot.rst).
//!
//! ```text
//! 0        0x1f1          0x202   0x206    0x248           0x24c
//! +---...--+-------------+-------+--------+---------------+----------------+
//! |        | setup_sects | "HdrS"| version| payload_offset| payload_length |
//! +---...--+-------------+-------+--------+---------------+----------------+
//! (setup_sects + 1) * 512: code that unpacks; payload_offset counts from here
//! ```
//!
//! The payload is an ELF file packed by one of several programs, told by its
//! first bytes; behind it the build adds the unpacked size in 4 bytes
//! (`size_append` in `scripts/Makefile.lib`), except where gzip has done so.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;

const MAGIC: &[u8] = b"HdrS";
/// The first version of the boot protocol that tells where the payload is.
const VERSION_MIN: u16 = 0x208;
const SECTOR: usize = 512;
/// Bytes of an unpacked kernel at most. Distributions' have some 60 MB.
const UNPACKED_MAX: u64 = 1 << 30;
/// Bytes of the unpacked size behind the payload.
const SIZE_SUFFIX: usize = 4;

/// The packed kernel in `file`; `None` where this is no bzImage.
pub(super) fn payload(file: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| -> Option<usize> {
        file.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word) as usize)
    };
    let version = u16::from_le_bytes(*file.get(0x206..)?.first_chunk()?);
    if file.get(0x202..0x206)? != MAGIC || version < VERSION_MIN {
        return None;
    }
    // 0 stands for 4, for the sake of very old boot loaders.
    let sectors = match *file.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = ((sectors + 1) * SECTOR).checked_add(word(0x248)?)?;
    file.get(start..start.checked_add(word(0x24c)?)?)
}

/// Unpacks a payload.
///
/// # Errors
///
/// Where it was packed in a way that is not known, or is spoilt.
pub(super) fn unpack(payload: &[u8]) -> io::Result<Vec<u8>> {
    let packed = &payload[..payload.len().saturating_sub(SIZE_SUFFIX)];
    let reader: Box<dyn Read + '_> = match payload {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::GzDecoder::new(payload)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(lzma_rust2::XzReader::new(packed, false)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(packed)?.single_frame()),
        [0x02, 0x21, 0x4c, 0x18, ..] => Box::new(FrameDecoder::new(packed)),
        _ => {
            let known = "it is packed neither by gzip, xz, zstd nor lz4";
            return Err(io::Error::new(io::ErrorKind::Unsupported, known));
        }
    };
    let mut unpacked = Vec::new();
    reader.take(UNPACKED_MAX).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A bzImage around `payload`.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 3 * SECTOR];
        file[0x1f1] = 2;
        file[0x202..0x206].copy_from_slice(MAGIC);
        file[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        file[0x248..0x24c].copy_from_slice(&100u32.to_le_bytes());
        file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file.resize(3 * SECTOR + 100, 0x90);
        file.extend(payload);
        file.extend(b"behind");
        file
    }

    #[test]
    fn the_payload_is_what_the_header_says() {
        assert_eq!(payload(&image(b"packed")), Some(&b"packed"[..]));
        let whole = image(b"packed");
        assert_eq!(payload(&whole[..whole.len() - 7]), None, "cut off");
        assert_eq!(payload(b"\x7fELF"), None);
    }

    #[test]
    fn payloads_of_the_usual_programs_are_unpacked() {
        let kernel: Vec<u8> = (0..100_000u32).flat_map(|word| (word / 7).to_le_bytes()).collect();
        let scratch = tempfile::tempdir().unwrap();
        let plain = scratch.path().join("kernel");
        std::fs::write(&plain, &kernel).unwrap();
        // As the kernel's build calls them.
        let programs: [(&str, &[&str]); 4] = [
            ("gzip", &["-n", "-9", "-c"]),
            ("xz", &["--check=crc32", "--x86", "--lzma2=dict=32MiB", "-c"]),
            ("zstd", &["-22", "--ultra", "-q", "-c"]),
            ("lz4", &["-l", "-9", "-c"]),
        ];
        for (program, args) in programs {
            let output = std::process::Command::new(program).args(args).arg(&plain).output();
            let output = output.unwrap_or_else(|error| panic!("{program} is missing: {error}"));
            assert!(output.status.success(), "{program}: {output:?}");
            let mut packed = output.stdout;
            if program != "gzip" {
                packed.write_all(&(kernel.len() as u32).to_le_bytes()).unwrap();
            }
            assert!(unpack(&packed).unwrap() == kernel, "{program}");
        }
        assert!(unpack(b"BZh91AY").is_err());
    }
}
