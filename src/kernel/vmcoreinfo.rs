//! VMCOREINFO: what a Linux kernel writes into its own memory for whoever reads
//! a crash dump (Documentation/admin-guide/kdump/vmcoreinfo.rst).
//!
//! The kernel keeps it twice, each at the start of a page of its own
//! (`crash_save_vmcoreinfo_init()` in `kernel/vmcore_info.c`): the text, and an
//! ELF note of it.
//!
//! ```text
//! 0       4       8       12               24
//! +-------+-------+-------+----------------+------------------------------+
//! |  11   | descsz|   0   | "VMCOREINFO\0" | OSRELEASE=...\nBUILD-ID=...\n |
//! +-------+-------+-------+----------------+------------------------------+
//! ```
//!
//! Any program in the guest can write the same into its memory, and after a
//! reboot the note of the kernel before may still be there: what is found is a
//! claim that [`VmcoreInfo::locate`] checks first and
//! [`Kernel::attach`](super::Kernel::attach) further.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::memory::{GuestMemory, GuestPhys, GuestVirt, PAGE_SIZE, PageTableLevels, Region};

use super::banner;
use super::error::KernelError;
use super::image::{Located, START_KERNEL_MAP};
use super::kallsyms::TableAddresses;
use super::sighting::Sighting;

/// Bytes of text at most: `VMCOREINFO_BYTES` is one page.
const TEXT_MAX: usize = PAGE_SIZE as usize;
/// Bytes of the note's header and name, padded to the note's alignment.
const NOTE_HEADER: usize = 24;
const NOTE_NAME: &[u8; 11] = b"VMCOREINFO\0";
/// How the text begins on every kernel.
const TEXT_START: &[u8; 10] = b"OSRELEASE=";
/// Hexadecimal digits of a build ID at most; SHA-1 has 40.
const BUILD_ID_MAX: usize = 128;
/// Guest memory looked at in one piece. A backing that is not mapped copies it.
const SCAN_CHUNK: u64 = 1 << 20;

/// What a kernel says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmcoreInfo {
    /// `uname -r`.
    pub release: String,
    /// The GNU build ID in hexadecimal; kernels before 5.9 do not tell it.
    pub build_id: Option<String>,
    /// Bytes that KASLR moved the image's virtual addresses by.
    pub kaslr_offset: u64,
    /// `phys_base`, a signed number that wraps.
    pub phys_base: u64,
    /// Start of the kernel's code.
    pub stext: GuestVirt,
    /// The kernel's own top page table, `init_top_pgt`.
    pub page_table: GuestVirt,
    /// How many levels the page tables have.
    pub levels: PageTableLevels,
    /// Where the symbol tables are, on kernels that tell it (6.0 and later).
    pub kallsyms: Option<TableAddresses>,
}

impl VmcoreInfo {
    /// Reads the lines of the text.
    ///
    /// # Errors
    ///
    /// [`KernelError::Vmcoreinfo`] where a line that matters is missing or is
    /// not what a kernel writes.
    pub fn parse(text: &[u8]) -> Result<Self, KernelError> {
        let lines = Lines::new(text);
        let malformed = KernelError::Vmcoreinfo;
        let release = lines
            .find("OSRELEASE")
            .filter(|release| banner::is_release(release))
            .ok_or(malformed("no OSRELEASE"))?;
        let build_id = lines.find("BUILD-ID").map(|id| {
            let hexadecimal = id.bytes().all(|digit| digit.is_ascii_hexdigit());
            let fits = !id.is_empty() && id.len() <= BUILD_ID_MAX && hexadecimal;
            fits.then(|| id.to_ascii_lowercase()).ok_or(malformed("BUILD-ID is not hexadecimal"))
        });
        let page_table = lines
            .symbol("init_top_pgt")
            .or_else(|| lines.symbol("swapper_pg_dir"))
            .ok_or(malformed("no address of the kernel's page table"))?;
        Ok(Self {
            release: release.to_owned(),
            build_id: build_id.transpose()?,
            kaslr_offset: lines.hex("KERNELOFFSET").unwrap_or(0),
            phys_base: lines
                .number("phys_base")
                .ok_or(malformed("no phys_base: not an x86-64 kernel"))?
                .cast_unsigned(),
            stext: lines.symbol("_stext").ok_or(malformed("no _stext"))?,
            page_table,
            levels: match lines.number("pgtable_l5_enabled") {
                Some(1) => PageTableLevels::Five,
                _ => PageTableLevels::Four,
            },
            kallsyms: lines.kallsyms(),
        })
    }

    /// Reads the note or the text that begins the page at `page`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Vmcoreinfo`], or an error of reading the memory.
    pub fn read(memory: &GuestMemory, page: GuestPhys) -> Result<Self, KernelError> {
        let mut head = [0; NOTE_HEADER];
        memory.read(page, &mut head)?;
        let (start, len) = text_place(&head).ok_or(KernelError::Vmcoreinfo("no note here"))?;
        let start = page.checked_add(start as u64).ok_or(KernelError::Vmcoreinfo("no room"))?;
        let mut text = vec![0; len];
        memory.read(start, &mut text)?;
        Self::parse(&text)
    }

    /// Where the kernel lies, once its own page tables have confirmed it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Vmcoreinfo`] where the page tables do not map the image
    /// to where `phys_base` says.
    pub fn locate(&self, memory: &Arc<GuestMemory>) -> Result<Located, KernelError> {
        let mut located = Located {
            kaslr_offset: self.kaslr_offset,
            phys_base: self.phys_base,
            page_table: GuestPhys::new(0),
            levels: self.levels,
        };
        located.page_table = located.image_phys(self.page_table);
        let space = located.space(memory);
        for addr in [self.stext, self.page_table] {
            let mapped = space.translate(addr).map(|(phys, _)| phys).ok();
            if addr.get() < START_KERNEL_MAP || mapped != Some(located.image_phys(addr)) {
                let why = "the kernel's page tables do not map the kernel image";
                return Err(KernelError::Vmcoreinfo(why));
            }
        }
        Ok(located)
    }
}

impl VmcoreInfo {
    /// What it claims, once it is [located](Self::locate). `init_top_pgt` is
    /// among the data behind the constants.
    pub(super) fn sighting(self, located: Located) -> Sighting {
        Sighting {
            release: self.release,
            build_id: self.build_id,
            located,
            image: self.stext..self.page_table,
            kallsyms: self.kallsyms,
        }
    }
}

/// Calls `visit` for every page of guest memory that begins like VMCOREINFO,
/// ascending, until it breaks. Memory that was never used is not touched.
pub fn scan<T>(
    memory: &GuestMemory,
    mut visit: impl FnMut(GuestPhys) -> ControlFlow<T>,
) -> Option<T> {
    let mut copy = Vec::new();
    for region in memory.regions() {
        let mut from = 0;
        while let Some(data) = region.backing.next_data(from) {
            // A range may begin within a page where the host's pages are
            // smaller than the guest's; the guest's count.
            let mut at = data.start.max(from).next_multiple_of(PAGE_SIZE);
            let end = data.end.min(region.len);
            while at < end {
                let len = SCAN_CHUNK.min(end - at);
                for head in heads(region, at, len, &mut copy) {
                    if let Some(page) = region.start.checked_add(head)
                        && let ControlFlow::Break(found) = visit(page)
                    {
                        return Some(found);
                    }
                }
                at += len;
            }
            if end <= from {
                break;
            }
            from = end;
        }
    }
    None
}

/// Offsets in `region` of the pages in `at..at + len` that begin like
/// VMCOREINFO. A piece that the host cannot give holds none.
fn heads(region: &Region, at: u64, len: u64, copy: &mut Vec<u8>) -> Vec<u64> {
    let bytes = match region.backing.borrow(at, len as usize) {
        Some(bytes) => bytes,
        None => {
            copy.resize(len as usize, 0);
            match region.backing.read(at, copy) {
                Ok(()) => copy.as_slice(),
                Err(_) => return Vec::new(),
            }
        }
    };
    let pages = bytes.chunks(PAGE_SIZE as usize).enumerate();
    pages
        .filter(|(_, page)| page.first_chunk().is_some_and(|head| text_place(head).is_some()))
        .map(|(index, _)| at + index as u64 * PAGE_SIZE)
        .collect()
}

/// Where the text starts in a page that begins with `head`, and its length at
/// most; `None` where this is no VMCOREINFO.
fn text_place(head: &[u8; NOTE_HEADER]) -> Option<(usize, usize)> {
    if head.starts_with(TEXT_START) {
        return Some((0, TEXT_MAX));
    }
    let (sizes, name) = head.split_at(12);
    let descsz = u32::from_le_bytes(*sizes[4..].first_chunk()?) as usize;
    let header = sizes[..4] == (NOTE_NAME.len() as u32).to_le_bytes() && sizes[8..] == [0; 4];
    (header && name.starts_with(NOTE_NAME) && descsz > 0)
        .then_some((NOTE_HEADER, descsz.min(TEXT_MAX)))
}

/// `KEY=VALUE` lines, up to the first byte that is not text.
struct Lines<'a>(&'a str);

impl<'a> Lines<'a> {
    fn new(text: &'a [u8]) -> Self {
        let text = &text[..text.len().min(TEXT_MAX)];
        let end = text.iter().position(|byte| *byte == 0 || !byte.is_ascii());
        Self(str::from_utf8(&text[..end.unwrap_or(text.len())]).unwrap_or_default())
    }

    /// The value of the first line with this key.
    fn find(&self, key: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    fn hex(&self, key: &str) -> Option<u64> {
        u64::from_str_radix(self.find(key)?, 16).ok()
    }

    fn symbol(&self, name: &str) -> Option<GuestVirt> {
        self.hex(&format!("SYMBOL({name})")).map(GuestVirt::new)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.find(&format!("NUMBER({name})"))?.parse().ok()
    }

    fn kallsyms(&self) -> Option<TableAddresses> {
        Some(TableAddresses {
            num_syms: self.symbol("kallsyms_num_syms")?,
            names: self.symbol("kallsyms_names")?,
            token_table: self.symbol("kallsyms_token_table")?,
            token_index: self.symbol("kallsyms_token_index")?,
            offsets: self.symbol("kallsyms_offsets")?,
            relative_base: self.symbol("kallsyms_relative_base"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::tests::region;

    const TEXT: &str = "OSRELEASE=6.1.0-50-cloud-amd64\n\
        BUILD-ID=bb603a9147d3efe4744bf83c83eee397c591cc20\n\
        PAGESIZE=4096\n\
        SYMBOL(swapper_pg_dir)=ffffffff85410000\n\
        SYMBOL(_stext)=ffffffff83a00000\n\
        NUMBER(phys_base)=-203423744\n\
        SYMBOL(init_top_pgt)=ffffffff85410000\n\
        NUMBER(pgtable_l5_enabled)=1\n\
        KERNELOFFSET=2a00000\n";

    fn note(text: &str) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [11, text.len() as u32, 0] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"VMCOREINFO\0\0");
        note.extend(text.as_bytes());
        note
    }

    #[test]
    fn lines_become_values() {
        let info = VmcoreInfo::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(info.release, "6.1.0-50-cloud-amd64");
        assert_eq!(info.build_id.as_deref(), Some("bb603a9147d3efe4744bf83c83eee397c591cc20"));
        assert_eq!(info.kaslr_offset, 0x2a0_0000);
        assert_eq!(info.phys_base.cast_signed(), -203_423_744);
        assert_eq!(info.levels, PageTableLevels::Five);
        assert_eq!(info.kallsyms, None);
    }

    #[test]
    fn what_a_kernel_never_writes_is_refused() {
        for (line, other) in [
            ("OSRELEASE=6.1.0-50-cloud-amd64", "OSRELEASE=a b"),
            ("BUILD-ID=bb603a91", "BUILD-ID=../../etc"),
            ("NUMBER(phys_base)=-203423744", "NUMBER(phys_base)=1e9"),
            ("SYMBOL(_stext)=ffffffff83a00000", "SYMBOL(_stext)=fffffffff83a000000"),
        ] {
            let text = TEXT.replace(line, other);
            assert_ne!(text, TEXT);
            assert!(VmcoreInfo::parse(text.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn notes_and_texts_at_page_starts_are_found_and_nothing_else() {
        let mut ram = vec![0; 64 * 4096];
        let mut put = |at: usize, bytes: &[u8]| ram[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x3000, &note(TEXT));
        put(0x5008, &note(TEXT));
        put(0x7000, TEXT.as_bytes());
        put(0x3f000, &note(TEXT));
        let memory = GuestMemory::new(vec![region(0x10_0000, ram)]).unwrap();
        let mut found = Vec::new();
        let stopped = scan(&memory, |page| {
            assert_eq!(VmcoreInfo::read(&memory, page).unwrap().release, "6.1.0-50-cloud-amd64");
            found.push(page.get());
            if found.len() == 3 { ControlFlow::Break(page) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(found, [0x10_3000, 0x10_7000, 0x13_f000]);
        assert_eq!(stopped, Some(GuestPhys::new(0x13_f000)));
    }

    #[test]
    fn page_tables_that_map_nothing_locate_no_kernel() {
        let info = VmcoreInfo::parse(TEXT.as_bytes()).unwrap();
        let memory = Arc::new(GuestMemory::new(vec![region(0, vec![0; 1 << 20])]).unwrap());
        assert!(matches!(info.locate(&memory), Err(KernelError::Vmcoreinfo(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(
            flips in proptest::collection::vec((0..TEXT.len(), any::<u8>()), 0..8),
            cut in 0..TEXT.len(),
        ) {
            let mut bytes = TEXT.as_bytes().to_vec();
            for (at, byte) in flips {
                bytes[at] = byte;
            }
            bytes.truncate(cut);
            if let Ok(info) = VmcoreInfo::parse(&bytes) {
                prop_assert!(banner::is_release(&info.release));
                let memory = Arc::new(GuestMemory::new(vec![region(0, vec![0; 8192])]).unwrap());
                prop_assert!(info.locate(&memory).is_err());
            }
        }
    }
}
