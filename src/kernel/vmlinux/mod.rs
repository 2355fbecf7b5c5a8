//! Profiles of kernels that do not run, from the files of their build.
//!
//! A file is `vmlinux` or a bzImage around it (`vmlinuz`). Types come from its
//! BTF, else from its DWARF; symbols from its symbol table, a `System.map`, or
//! the kallsyms that the kernel has of itself.

mod bzimage;
mod elf;
mod system_map;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::memory::GuestVirt;

use super::banner;
use super::btf::Btf;
use super::build_id;
use super::declare::Declarations;
use super::dwarf::Dwarf;
use super::error::KernelError;
use super::image_copy::ImageCopy;
use super::kallsyms::Kallsyms;
use super::profile::{Origin, Profile};
use super::resolve::{structs, symbol_names};
use super::types::Types;
use elf::KernelElf;

/// Why no profile could be made of a file.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A bzImage, or a section of an ELF file, cannot be unpacked.
    #[error("{path}: the kernel in it cannot be unpacked: {source}")]
    Packed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is no x86-64 Linux kernel, neither vmlinux nor a bzImage: {why}")]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        why: &'static str,
    },
    /// Nothing tells the kernel's types.
    #[error(
        "{path} holds neither BTF nor DWARF; take the vmlinux of the distribution's debug package"
    )]
    NoTypes {
        /// The file.
        path: PathBuf,
    },
    /// Nothing tells the kernel's symbols.
    #[error(
        "{path} has neither a symbol table nor kallsyms; give the build's System.map with \
         --system-map"
    )]
    NoSymbols {
        /// The file.
        path: PathBuf,
    },
    /// The System.map is not one, or of another build.
    #[error("{path} is not the System.map of this kernel: it has no {symbol}, or elsewhere")]
    SystemMap {
        /// The file.
        path: PathBuf,
        /// The symbol that was looked for.
        symbol: &'static str,
    },
    /// What the file holds cannot be understood.
    #[error("{path}: {source}")]
    Kernel {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KernelError,
    },
}

/// Makes a profile of the kernel in the file `vmlinux`.
///
/// # Errors
///
/// See [`VmlinuxError`].
pub fn build_profile(
    vmlinux: &Path,
    system_map: Option<&Path>,
    declarations: &Declarations,
) -> Result<Profile, VmlinuxError> {
    let file = read(vmlinux)?;
    let kernel = unpacked(vmlinux, &file)?;
    let (elf, image) = parsed(vmlinux, &kernel)?;
    let file = KernelFile { path: vmlinux, elf, image };
    let release = file.release()?;
    let (mut symbols, from) = file.symbols(system_map, declarations)?;
    let build_id = file.build_id(&symbols)?;
    symbols.retain(|name, _| !NOTES.contains(&name.as_str()));
    let (structs, types) = file.structs(declarations)?;
    Ok(Profile {
        release,
        build_id,
        origin: Origin { types: file.named(types), symbols: from },
        symbols,
        structs,
    })
}

/// Code and constants of the kernel in the file `vmlinux`, as they lie in the
/// memory of a guest that runs it.
///
/// # Errors
///
/// See [`VmlinuxError`].
pub fn kernel_image(vmlinux: &Path) -> Result<ImageCopy, VmlinuxError> {
    let file = read(vmlinux)?;
    let kernel = unpacked(vmlinux, &file)?;
    Ok(parsed(vmlinux, &kernel)?.1)
}

/// The kernel's ELF file.
fn unpacked<'f>(path: &Path, file: &'f [u8]) -> Result<Cow<'f, [u8]>, VmlinuxError> {
    Ok(match bzimage::payload(file) {
        Some(payload) => {
            let unpacked = bzimage::unpack(payload);
            Cow::Owned(unpacked.map_err(|source| packed(path, source))?)
        }
        None => Cow::Borrowed(file),
    })
}

fn parsed<'k>(path: &Path, kernel: &'k [u8]) -> Result<(KernelElf<'k>, ImageCopy), VmlinuxError> {
    let elf = KernelElf::parse(kernel).ok_or(not_a_kernel(path, "no ELF file is in it"))?;
    let image = elf.image().ok_or(not_a_kernel(path, "it is not linked for the kernel's place"))?;
    Ok((elf, image))
}

/// A kernel that was unpacked.
struct KernelFile<'a> {
    path: &'a Path,
    elf: KernelElf<'a>,
    image: ImageCopy,
}

impl<'a> KernelFile<'a> {
    fn release(&self) -> Result<String, VmlinuxError> {
        let bytes = self.image.bytes();
        let banners = memmem::find_iter(bytes, banner::START);
        let mut releases = banners.filter_map(|at| banner::release(&bytes[at..]));
        let release = releases.next().ok_or(not_a_kernel(self.path, "it has no linux_banner"))?;
        Ok(release.to_owned())
    }

    fn build_id(&self, symbols: &BTreeMap<String, u64>) -> Result<String, VmlinuxError> {
        let bounds = NOTES.map(|name| symbols.get(name).copied().map(GuestVirt::new));
        let notes = match (self.section(".notes")?, bounds) {
            (Some(notes), _) => Some(notes),
            (None, [Some(start), Some(end)]) => self.image.range(start, end).map(Cow::Borrowed),
            _ => None,
        };
        Ok(notes.and_then(|notes| build_id::find(&notes)).unwrap_or_default())
    }

    /// Symbols, and where they are from.
    fn symbols(
        &self,
        system_map: Option<&Path>,
        declarations: &Declarations,
    ) -> Result<(BTreeMap<String, u64>, String), VmlinuxError> {
        let names = || symbol_names(declarations).chain(NOTES);
        let symbols = self.elf.symbols(names());
        if symbols.contains_key("init_task") {
            return Ok((symbols, self.named("symbol table")));
        }
        if let Some(path) = system_map {
            let text = read(path)?;
            let symbols = system_map::symbols(&String::from_utf8_lossy(&text), names());
            // The banner shows that file and map are of one build.
            let banner = symbols.get("linux_banner").copied().map(GuestVirt::new);
            let start = banner::START.as_bytes();
            let there = banner.and_then(|addr| self.image.get(addr, start.len() as u64));
            if !symbols.contains_key("init_task") || there != Some(start) {
                let symbol = "linux_banner";
                return Err(VmlinuxError::SystemMap { path: path.to_owned(), symbol });
            }
            return Ok((symbols, named("System.map", path)));
        }
        match Kallsyms::search(&self.image) {
            Ok(kallsyms) => {
                let symbols = kallsyms.find(names()).map_err(|source| self.failed(source))?;
                Ok((symbols, self.named("kallsyms")))
            }
            Err(_) => Err(VmlinuxError::NoSymbols { path: self.path.to_owned() }),
        }
    }

    /// Layouts, and what they are from.
    fn structs(
        &self,
        declarations: &Declarations,
    ) -> Result<(BTreeMap<String, super::ProfileStruct>, &'static str), VmlinuxError> {
        if let Some(blob) = self.section(".BTF")? {
            let btf = Btf::parse(&blob).map_err(|source| self.failed(source))?;
            return Ok((structs(&btf as &dyn Types, declarations), "BTF"));
        }
        let sections = gimli::DwarfSections::load(|id| {
            Ok::<_, VmlinuxError>(self.section(id.name())?.unwrap_or_default())
        })?;
        let dwarf = Dwarf::index(&sections).map_err(|source| self.failed(source.into()))?;
        if dwarf.is_empty() {
            return Err(VmlinuxError::NoTypes { path: self.path.to_owned() });
        }
        Ok((structs(&dwarf as &dyn Types, declarations), "DWARF"))
    }

    fn section(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, VmlinuxError> {
        self.elf.section(name).map_err(|source| packed(self.path, source))
    }

    fn named(&self, what: &str) -> String {
        named(what, self.path)
    }

    fn failed(&self, source: KernelError) -> VmlinuxError {
        VmlinuxError::Kernel { path: self.path.to_owned(), source }
    }
}

/// What `vmlinux.lds.h` calls the ends of the kernel's ELF notes.
const NOTES: [&str; 2] = ["__start_notes", "__stop_notes"];

/// Where something is from, without the folder: that is another elsewhere.
fn named(what: &str, path: &Path) -> String {
    format!("{what} of {}", path.file_name().unwrap_or_default().to_string_lossy())
}

fn read(path: &Path) -> Result<Vec<u8>, VmlinuxError> {
    fs::read(path).map_err(|source| VmlinuxError::Io { path: path.to_owned(), source })
}

fn packed(path: &Path, source: io::Error) -> VmlinuxError {
    VmlinuxError::Packed { path: path.to_owned(), source }
}

fn not_a_kernel(path: &Path, why: &'static str) -> VmlinuxError {
    VmlinuxError::NotAKernel { path: path.to_owned(), why }
}
