//! A located kernel: its memory, read and written by the profile's layouts.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::memory::{AddressSpace, GuestMemory, GuestPhys, GuestVirt, PageTableLevels};

use super::declare::{Declarations, StructDecl};
use super::error::KernelError;
use super::profile::{Bits, Profile, ProfileStruct};

/// Where the kernel image is linked: `__START_KERNEL_map`
/// (`arch/x86/include/asm/page_64_types.h`).
pub(super) const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// Symbols that every profile holds beside the declared ones: the variables
/// with the bases of the kernel's regions under `CONFIG_RANDOMIZE_MEMORY`, and
/// what shows that a profile fits.
pub const BASE_SYMBOLS: &[&str] = &[
    "page_offset_base",
    "vmemmap_base",
    "linux_banner",
    "init_task",
    "init_top_pgt",
    "_stext",
    "real_mode_header",
    "secondary_startup_64",
];

/// Where a running kernel lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Bytes that KASLR moved the image's virtual addresses by.
    pub kaslr_offset: u64,
    /// `phys_base`: physical = virtual - `__START_KERNEL_map` + this, modulo
    /// 2^64.
    pub phys_base: u64,
    /// Physical address of `init_top_pgt`.
    pub page_table: GuestPhys,
    /// Whether the tables have four or five levels.
    pub levels: PageTableLevels,
}

impl Located {
    /// The physical address of an address in the kernel image, by the formula
    /// of `__phys_addr()` (`arch/x86/mm/physaddr.c`).
    pub fn image_phys(&self, addr: GuestVirt) -> GuestPhys {
        GuestPhys::new(addr.get().wrapping_sub(START_KERNEL_MAP).wrapping_add(self.phys_base))
    }

    /// The kernel's own view of memory.
    pub fn space(&self, memory: &Arc<GuestMemory>) -> AddressSpace {
        AddressSpace::new(memory.clone(), self.page_table, self.levels)
    }
}

/// The place of a resolved field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the structure.
    pub offset: u64,
    /// Bytes of the member, or of one unit of the bit field.
    pub size: u64,
    /// The bits of a bit field.
    pub bits: Option<Bits>,
    /// Whether the value is a signed integer.
    pub signed: bool,
}

/// A declared structure, resolved: members in the declaration's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructLayout {
    /// `sizeof`, in bytes; 0 where the kernel lacks the structure.
    pub size: u64,
    /// One for each declared field; `None` where an optional one is absent.
    pub members: Vec<Option<Member>>,
}

/// A guest kernel that can be read by name.
#[derive(Debug)]
pub struct Kernel {
    space: AddressSpace,
    located: Located,
    profile: Arc<Profile>,
    layouts: HashMap<usize, StructLayout>,
    symbols: HashMap<&'static str, GuestVirt>,
    direct_map: GuestVirt,
    vmemmap: GuestVirt,
}

impl Kernel {
    /// Resolves `declarations` against `profile` for the kernel that lies at
    /// `located`.
    ///
    /// # Errors
    ///
    /// The first declared structure, field or symbol that the kernel must have
    /// and lacks, or an error of reading its base addresses.
    pub fn new(
        memory: Arc<GuestMemory>,
        located: Located,
        profile: Arc<Profile>,
        declarations: &Declarations,
    ) -> Result<Self, KernelError> {
        let space = located.space(&memory);
        let layouts = resolve_structs(&profile, declarations)?;
        let symbols = resolve_symbols(&profile, declarations, located.kaslr_offset)?;
        let mut kernel = Self {
            space,
            located,
            profile,
            layouts,
            symbols,
            direct_map: GuestVirt::NULL,
            vmemmap: GuestVirt::NULL,
        };
        kernel.direct_map = kernel.base_address("page_offset_base")?;
        kernel.vmemmap = kernel.base_address("vmemmap_base")?;
        Ok(kernel)
    }

    /// `uname -r` of the guest.
    pub fn release(&self) -> &str {
        &self.profile.release
    }

    /// The profile in use.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// Where the kernel lies.
    pub fn located(&self) -> Located {
        self.located
    }

    /// The kernel's own view of memory.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// The memory of the user process whose top page table the kernel knows at
    /// `pgd` (`mm_struct.pgd`).
    ///
    /// # Errors
    ///
    /// Where `pgd` is not mapped.
    pub fn user_space(&self, pgd: GuestVirt) -> Result<AddressSpace, KernelError> {
        let root = self.translate(pgd)?;
        Ok(AddressSpace::new(self.space.memory().clone(), root, self.located.levels))
    }

    /// The layout of a declared structure; `None` where `declarations` of
    /// [`new`](Self::new) did not hold it.
    pub fn layout(&self, decl: &'static StructDecl) -> Option<&StructLayout> {
        self.layouts.get(&identity(decl))
    }

    /// The address of a declared symbol, by our name for it; `None` where this
    /// kernel lacks it. A per-CPU symbol is what `__per_cpu_offset` is added to.
    pub fn symbol(&self, name: &'static str) -> Option<GuestVirt> {
        self.symbols.get(name).copied()
    }

    /// Copies kernel memory at `addr` into `buf`.
    ///
    /// # Errors
    ///
    /// Where an address is not mapped or not RAM.
    pub fn read(&self, addr: GuestVirt, buf: &mut [u8]) -> Result<(), KernelError> {
        match self.in_direct_map(addr) {
            Some(phys) => Ok(self.space.memory().read(phys, buf)?),
            None => Ok(self.space.read(addr, buf)?),
        }
    }

    /// Copies `bytes` to kernel memory at `addr`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&self, addr: GuestVirt, bytes: &[u8]) -> Result<(), KernelError> {
        match self.in_direct_map(addr) {
            Some(phys) => Ok(self.space.memory().write(phys, bytes)?),
            None => Ok(self.space.write(addr, bytes)?),
        }
    }

    /// The physical address behind a kernel address.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn translate(&self, addr: GuestVirt) -> Result<GuestPhys, KernelError> {
        match self.in_direct_map(addr) {
            Some(phys) => Ok(phys),
            None => Ok(self.space.translate(addr)?.0),
        }
    }

    /// Where the array of all `struct page` begins, that of frame 0 first.
    pub fn vmemmap(&self) -> GuestVirt {
        self.vmemmap
    }

    /// Where `addr` lies in the kernel's map of all RAM, which is linear
    /// (Documentation/arch/x86/x86_64/mm.rst) and ends below `vmemmap`.
    fn in_direct_map(&self, addr: GuestVirt) -> Option<GuestPhys> {
        if self.direct_map.is_null() || addr >= self.vmemmap {
            return None;
        }
        let phys = GuestPhys::new(addr.checked_offset_from(self.direct_map)?);
        self.space.memory().borrow(phys, 1).is_ok().then_some(phys)
    }

    /// The address of one of [`BASE_SYMBOLS`].
    pub(super) fn base_symbol(&self, name: &'static str) -> Result<GuestVirt, KernelError> {
        let linked = self.profile.symbols.get(name).ok_or_else(|| KernelError::MissingSymbol {
            release: self.release().to_owned(),
            names: BASE_SYMBOLS,
        })?;
        Ok(GuestVirt::new(*linked).wrapping_add(self.located.kaslr_offset))
    }

    /// The value of one of the variables of [`BASE_SYMBOLS`].
    fn base_address(&self, name: &'static str) -> Result<GuestVirt, KernelError> {
        let addr = self.base_symbol(name)?;
        let mut word = [0; 8];
        self.read(addr, &mut word)?;
        Ok(GuestVirt::new(u64::from_le_bytes(word)))
    }
}

/// A declaration is a static: its address tells it from all others.
fn identity(decl: &'static StructDecl) -> usize {
    std::ptr::from_ref(decl).addr()
}

fn resolve_structs(
    profile: &Profile,
    declarations: &Declarations,
) -> Result<HashMap<usize, StructLayout>, KernelError> {
    let mut layouts = HashMap::new();
    for decl in declarations.structs {
        let layout = match profile.structs.get(decl.name) {
            Some(known) => resolve_struct(profile, decl, known)?,
            None if decl.optional => {
                StructLayout { size: 0, members: vec![None; decl.fields.len()] }
            }
            None => {
                let release = profile.release.clone();
                return Err(KernelError::MissingStruct { release, structure: decl.name });
            }
        };
        layouts.insert(identity(decl), layout);
    }
    Ok(layouts)
}

fn resolve_struct(
    profile: &Profile,
    decl: &'static StructDecl,
    known: &ProfileStruct,
) -> Result<StructLayout, KernelError> {
    let mut members = Vec::with_capacity(decl.fields.len());
    for field in decl.fields {
        let found = field.paths.iter().find_map(|path| known.members.get(*path));
        if found.is_none() && !field.optional {
            return Err(KernelError::MissingField {
                release: profile.release.clone(),
                structure: decl.name,
                paths: field.paths,
            });
        }
        members.push(found.map(|member| Member {
            offset: member.offset,
            size: member.size,
            bits: member.bits,
            signed: member.signed,
        }));
    }
    Ok(StructLayout { size: known.size, members })
}

fn resolve_symbols(
    profile: &Profile,
    declarations: &Declarations,
    kaslr_offset: u64,
) -> Result<HashMap<&'static str, GuestVirt>, KernelError> {
    let mut symbols = HashMap::new();
    for decl in declarations.symbols {
        match decl.names.iter().find_map(|name| profile.symbols.get(*name)) {
            // Per-CPU offsets lie below the image and stay where they are.
            Some(&linked) if linked < START_KERNEL_MAP => {
                symbols.insert(decl.name, GuestVirt::new(linked));
            }
            Some(&linked) => {
                symbols.insert(decl.name, GuestVirt::new(linked).wrapping_add(kaslr_offset));
            }
            None if decl.optional => {}
            None => {
                let release = profile.release.clone();
                return Err(KernelError::MissingSymbol { release, names: decl.names });
            }
        }
    }
    Ok(symbols)
}
