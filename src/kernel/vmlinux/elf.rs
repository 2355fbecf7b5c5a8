//! A kernel as an ELF file: `vmlinux`, as it was linked or as a bzImage holds
//! it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};

use goblin::elf::header::EM_X86_64;
use goblin::elf::program_header::PT_LOAD;
use goblin::elf::section_header::{SHF_COMPRESSED, SHT_NOBITS};
use goblin::elf::sym::{STB_LOCAL, STT_FILE, STT_SECTION};
use goblin::elf::{Elf, SectionHeader};

use crate::memory::GuestVirt;

use super::super::image::START_KERNEL_MAP;
use super::super::image_copy::{COPY_MAX, ImageCopy};
use super::super::wanted::WantedSymbols;

/// Bytes of `Elf64_Chdr`, which a compressed section begins with.
const COMPRESSION_HEADER: usize = 24;
/// `ELFCOMPRESS_ZLIB` and `ELFCOMPRESS_ZSTD` (`elf.h`).
const ZLIB: u32 = 1;
const ZSTD: u32 = 2;
/// Bytes of an unpacked section at most.
const SECTION_MAX: u64 = 4 << 30;

/// A parsed file.
#[derive(Debug)]
pub(super) struct KernelElf<'a> {
    bytes: &'a [u8],
    elf: Elf<'a>,
}

impl<'a> KernelElf<'a> {
    /// Parses `bytes`; `None` where this is no ELF file for x86-64.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let elf = Elf::parse(bytes).ok()?;
        (elf.is_64 && elf.header.e_machine == EM_X86_64).then_some(Self { bytes, elf })
    }

    /// The kernel image as it lies in memory before it is moved; `None` where
    /// no part of the file is for there.
    pub(super) fn image(&self) -> Option<ImageCopy> {
        let loads = || {
            let loads = self.elf.program_headers.iter();
            loads.filter(|load| load.p_type == PT_LOAD && load.p_vaddr >= START_KERNEL_MAP)
        };
        let start = loads().map(|load| load.p_vaddr).min()?;
        let ends = loads().map(|load| load.p_vaddr.checked_add(load.p_filesz));
        let end = ends.collect::<Option<Vec<_>>>()?.into_iter().max()?;
        let len = end.checked_sub(start).filter(|len| *len <= COPY_MAX)?;
        let mut image = vec![0; usize::try_from(len).ok()?];
        for load in loads() {
            let part = self.bytes.get(load.file_range())?;
            let at = usize::try_from(load.p_vaddr - start).ok()?;
            image[at..at + part.len()].copy_from_slice(part);
        }
        Some(ImageCopy::new(GuestVirt::new(start), image))
    }

    /// The addresses of those of `names` that are in the symbol table.
    pub(super) fn symbols<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> BTreeMap<String, u64> {
        let mut wanted = WantedSymbols::new(names);
        for symbol in &self.elf.syms {
            let is_object = !matches!(symbol.st_type(), STT_SECTION | STT_FILE);
            let defined = symbol.st_shndx != 0 && is_object;
            if let Some(name) = self.elf.strtab.get_at(symbol.st_name).filter(|_| defined) {
                wanted.offer(name, symbol.st_value, symbol.st_bind() != STB_LOCAL);
            }
        }
        wanted.found()
    }

    /// The bytes of a section; `None` where there is none of this name.
    ///
    /// # Errors
    ///
    /// Where it cannot be unpacked.
    pub(super) fn section(&self, name: &str) -> io::Result<Option<Cow<'a, [u8]>>> {
        let named = |section: &&SectionHeader| {
            self.elf.shdr_strtab.get_at(section.sh_name) == Some(name)
                && section.sh_type != SHT_NOBITS
        };
        let Some(section) = self.elf.section_headers.iter().find(named) else { return Ok(None) };
        let range = section.file_range().and_then(|range| self.bytes.get(range));
        let bytes = range.ok_or_else(|| io::Error::other(format!("{name} is cut off")))?;
        if section.sh_flags & u64::from(SHF_COMPRESSED) == 0 {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        let unpacked = unpack(bytes);
        let failed = |error| io::Error::other(format!("{name} cannot be unpacked: {error}"));
        Ok(Some(Cow::Owned(unpacked.map_err(failed)?)))
    }
}

/// Unpacks a section: a header, the first word of which tells the way, and data.
fn unpack(section: &[u8]) -> io::Result<Vec<u8>> {
    let (header, packed) = section
        .split_at_checked(COMPRESSION_HEADER)
        .ok_or_else(|| io::Error::other("it is cut off"))?;
    let kind = header.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
    let reader: Box<dyn Read + '_> = match kind {
        ZLIB => Box::new(flate2::read::ZlibDecoder::new(packed)),
        ZSTD => Box::new(zstd::Decoder::new(packed)?.single_frame()),
        other => return Err(io::Error::other(format!("compression {other} is not known"))),
    };
    let mut unpacked = Vec::new();
    reader.take(SECTION_MAX).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
