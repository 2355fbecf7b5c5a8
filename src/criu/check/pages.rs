//! Pagemaps and pages files.

use goblin::elf::Elf;

use crate::criu::ImageStore;
use crate::criu::container::{ImageKind, ImageReader, ReadError, pages_file_name};
use crate::criu::findings::{Findings, ImageFindings, Violation};
use crate::criu::pagemap::{flag, flags, page_count};
use crate::criu::proto::{MemfdInodeEntry, PagemapEntry, PagemapHead, VmaEntry};
use crate::criu::set::{self, ProcessImages};
use crate::criu::vma::{areas_and_guards, status};
use crate::snapshot::PAGE_SIZE;

/// The largest vdso known has 2 pages; a process cannot make its own larger.
const MAX_VDSO: u64 = 16 * PAGE_SIZE;

pub fn check_process(store: &dyn ImageStore, process: &ProcessImages, findings: &mut Findings) {
    let pid = process.pstree.pid;
    let (areas, _) = areas_and_guards(&process.mm);
    let vdso = process.mm.vmas.iter().find(|vma| vma.status & status::VDSO != 0);
    let of = Pagemap { kind: ImageKind::Pagemap, id: pid, process: Some(pid), vdso };
    let Some(pages) = of.check(store, &|start, end| check_areas(start, end, areas), findings)
    else {
        return;
    };
    if let (Some(vdso), Some(offset)) = (vdso, pages.vdso_offset) {
        let bytes = vdso_content(store, &pages.name, vdso, offset);
        if let Err(problem) = bytes.and_then(|bytes| is_vdso(&bytes)) {
            findings.add(Violation::new(pages.name, Some(pid), "vdso", problem));
        }
    } else {
        let mut found = findings.of(ImageKind::Pagemap, pid, Some(pid));
        found.add("vaddr", "does not hold all pages of the vdso");
    }
}

/// Of shared memory, restore leaves out in silence what does not fit into it.
pub fn check_memory(store: &dyn ImageStore, memory: &MemfdInodeEntry, findings: &mut Findings) {
    if memory.size == 0 {
        return;
    }
    let size = memory.size.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
    let within = |start: u64, end: u64| match end {
        end if end <= size => Ok(()),
        _ => Err(format!("{start:#x} is beyond the {size} bytes of the memory")),
    };
    let (kind, id) = (ImageKind::PagemapShmem, memory.shmid);
    Pagemap { kind, id, process: None, vdso: None }.check(store, &within, findings);
}

/// A pagemap and what it is of.
struct Pagemap<'a> {
    kind: ImageKind,
    id: u32,
    process: Option<u32>,
    vdso: Option<&'a VmaEntry>,
}

/// What a pagemap says of its pages file.
struct PagesFile {
    name: String,
    size: u64,
    /// Where the vdso's pages begin, when all of them are there.
    vdso_offset: Option<u64>,
}

/// Says what is wrong with pages from one address to another.
type Within<'a> = &'a dyn Fn(u64, u64) -> Result<(), String>;

impl Pagemap<'_> {
    /// Checks it record by record, and its pages file; `None` when one cannot
    /// be read.
    fn check(
        &self,
        store: &dyn ImageStore,
        within: Within<'_>,
        findings: &mut Findings,
    ) -> Option<PagesFile> {
        let mut found = findings.of(self.kind, self.id, self.process);
        match self.read(store, within, &mut found) {
            Ok(Some(pages)) => {
                check_pages_file(store, &pages, self.process, findings);
                return Some(pages);
            }
            Ok(None) => findings.add(Violation::missing(self.kind.file_name(self.id))),
            Err(error) => {
                findings.add(Violation::unreadable(self.kind.file_name(self.id), &error));
            }
        }
        None
    }

    /// `None` when there is none.
    fn read(
        &self,
        store: &dyn ImageStore,
        within: Within<'_>,
        found: &mut ImageFindings<'_>,
    ) -> Result<Option<PagesFile>, ReadError> {
        let image = self.kind.file_name(self.id);
        let Some(mut reader) = set::open(store, self.kind, &image)? else { return Ok(None) };
        let head: PagemapHead = reader.next_record()?.ok_or(ReadError::Empty)?;
        let name = pages_file_name(head.pages_id);
        let mut pages = PagesFile { name, size: 0, vdso_offset: None };
        self.check_entries(reader, within, &mut pages, found)?;
        Ok(Some(pages))
    }

    fn check_entries<R: std::io::Read>(
        &self,
        reader: ImageReader<R>,
        within: Within<'_>,
        pages: &mut PagesFile,
        found: &mut ImageFindings<'_>,
    ) -> Result<(), ReadError> {
        let mut end_before = 0;
        let mut run = Run { start: 0, offset: 0 };
        for entry in reader.records::<PagemapEntry>() {
            let entry = entry?;
            let bytes = page_count(&entry).saturating_mul(PAGE_SIZE);
            let end = entry.vaddr.saturating_add(bytes);
            check_entry(&entry, found);
            found.require(entry.vaddr >= end_before, "vaddr", || {
                format!("{:#x} is not behind the entry before it", entry.vaddr)
            });
            if entry.vaddr != end_before {
                run = Run { start: entry.vaddr, offset: pages.size };
            }
            end_before = end;
            if let Err(problem) = within(entry.vaddr, end) {
                found.add("vaddr", problem);
            }
            if let Some(vdso) = self.vdso
                && run.start <= vdso.start
                && vdso.end <= end
            {
                pages.vdso_offset = Some(run.offset.saturating_add(vdso.start - run.start));
            }
            pages.size = pages.size.saturating_add(bytes);
            if found.findings.is_full() {
                break;
            }
        }
        Ok(())
    }
}

/// Entries without a gap between them.
struct Run {
    /// The first address.
    start: u64,
    /// Where its page is in the pages file.
    offset: u64,
}

fn check_entry(entry: &PagemapEntry, found: &mut ImageFindings<'_>) {
    found.require(entry.vaddr.is_multiple_of(PAGE_SIZE), "vaddr", || {
        format!("{:#x} is not page-aligned", entry.vaddr)
    });
    // Versions before 4.2 read this field, 4.2 the other where it is there.
    let old = u64::from(entry.compat_nr_pages);
    found.require(old > 0 && old == page_count(entry), "nr_pages", || {
        format!("is {old} for some versions and {} for others", page_count(entry))
    });
    // Restore does not look whether a parent has the pages, and goes on
    // without them.
    let flags = flags(entry);
    found.require(flags & flag::PARENT == 0, "flags", || {
        format!("of {:#x} refer to a parent, which the set has not", entry.vaddr)
    });
    found.require(flags & flag::PRESENT != 0, "flags", || {
        format!("of {:#x} say that its pages are not there", entry.vaddr)
    });
}

/// Whether adjoining areas that can have pages of their own hold a range.
fn check_areas(start: u64, end: u64, vmas: &[VmaEntry]) -> Result<(), String> {
    let mut address = start;
    let mut next = vmas.partition_point(|vma| vma.end <= start);
    while address < end {
        match vmas.get(next) {
            Some(vma) if vma.start <= address && address < vma.end => {
                if !has_pages(vma) {
                    return Err(format!("{address:#x} is in an area without pages of its own"));
                }
                address = vma.end;
            }
            _ => return Err(format!("{address:#x} is in no area")),
        }
        next += 1;
    }
    Ok(())
}

/// What `vma_area_is_private()` takes up to CRIU 4.1, without vvar, which is
/// the kernel's.
fn has_pages(vma: &VmaEntry) -> bool {
    let is = |bits: u32| vma.status & bits != 0;
    let is_private = is(status::REGULAR) && is(status::ANON_PRIVATE | status::FILE_PRIVATE);
    (is_private && !is(status::VVAR)) || is(status::AIO_RING | status::SHADOW_STACK)
}

/// From a file that is too short the restorer reads for ever.
fn check_pages_file(
    store: &dyn ImageStore,
    pages: &PagesFile,
    process: Option<u32>,
    findings: &mut Findings,
) {
    let problem = match store.size(&pages.name) {
        Ok(Some(size)) if size == pages.size => return,
        Ok(Some(size)) => format!("has {size} bytes instead of {}", pages.size),
        // Nothing is read from a pages file that would be empty.
        Ok(None) if pages.size == 0 => return,
        Ok(None) => "is missing".into(),
        Err(error) => error.to_string(),
    };
    findings.add(Violation::new(pages.name.clone(), process, "", problem));
}

fn vdso_content(
    store: &dyn ImageStore,
    pages: &str,
    vdso: &VmaEntry,
    offset: u64,
) -> Result<Vec<u8>, String> {
    let len = vdso.end.saturating_sub(vdso.start);
    if len > MAX_VDSO {
        return Err(format!("has {len} bytes, more than any kernel's"));
    }
    let mut content = vec![0; len as usize];
    store.read_at(pages, offset, &mut content).map_err(|error| error.to_string())?;
    Ok(content)
}

/// Restore looks for the vdso's functions to redirect them.
fn is_vdso(content: &[u8]) -> Result<(), String> {
    let elf = Elf::parse(content).map_err(|error| format!("is no ELF image: {error}"))?;
    if elf.dynsyms.iter().any(|symbol| symbol.is_function()) {
        Ok(())
    } else {
        Err("is an ELF image without functions".into())
    }
}
