//! The memory of a process: `struct mm_struct`.

use crate::kernel::KernelError;
use crate::memory::{AddressSpace, GuestVirt};

use super::aio::KioctxTable;
use super::file::File;
use super::maple_tree::MapleTree;
use super::percpu_counter::PercpuCounter;
use super::view::{Array, Embedded, Ptr, Raw, Struct, Value};
use super::vma::Vma;

/// Most VMAs that are read of one process. The default of
/// `vm.max_map_count` is 65530; programs that need more ask for some millions.
const MAX_VMAS: usize = 1 << 20;

kernel_struct! {
    /// A process's memory: `struct mm_struct`.
    pub struct Mm: "mm_struct" {
        /// VMAs by address, since 6.1.
        mm_mt: Embedded<MapleTree<'k>> = ?["mm_mt"],
        /// The first VMA of a list, before.
        mmap: Ptr<Vma<'k>> = ?["mmap"],
        /// How many VMAs there are.
        map_count: u32 = ["map_count"],
        /// The top page table.
        pgd: GuestVirt = ["pgd"],
        /// How many processes use it.
        mm_users: u32 = ["mm_users.counter"],
        /// `MMF_*` bits, with [`Task::dumpable`](super::Task::dumpable) in the
        /// lowest up to 7.1.
        flags: u64 = ["flags.__mm_flags", "flags"],
        /// The same where the kernel has a type for them, since 6.18.
        typed_flags: u64 = ?["flags.__mm_flags"],
        /// Writers of its areas, since 6.4.
        lock_seq: Raw = ?["mm_lock_seq"],
        /// First address of the executable's code.
        start_code: u64 = ["start_code"],
        /// End of it.
        end_code: u64 = ["end_code"],
        /// First address of its data.
        start_data: u64 = ["start_data"],
        /// End of it.
        end_data: u64 = ["end_data"],
        /// Start of the heap.
        start_brk: u64 = ["start_brk"],
        /// End of the heap.
        brk: u64 = ["brk"],
        /// Bottom of the stack at `execve()`.
        start_stack: u64 = ["start_stack"],
        /// Start of the arguments.
        arg_start: u64 = ["arg_start"],
        /// End of them.
        arg_end: u64 = ["arg_end"],
        /// Start of the environment.
        env_start: u64 = ["env_start"],
        /// End of it.
        env_end: u64 = ["env_end"],
        /// The auxiliary vector at `execve()`.
        auxv: Raw = ["saved_auxv"],
        /// Where the vDSO is mapped.
        vdso: u64 = ["context.vdso"],
        /// What is mapped there.
        vdso_image: Ptr<VdsoImage<'k>> = ["context.vdso_image"],
        /// The local descriptor table, if there is one.
        ldt: GuestVirt = ["context.ldt"],
        /// Protection keys that are allocated, one bit each; the first always is.
        pkey_allocation_map: u32 = ?["context.pkey_allocation_map"],
        /// The executable.
        exe_file: Ptr<File<'k>> = ["exe_file"],
        /// AIO contexts, if there are any.
        ioctx_table: Ptr<KioctxTable<'k>> = ["ioctx_table"],
        /// Resident pages by kind: a [`MmRssStat`] up to 6.1, later
        /// `struct percpu_counter[4]`.
        rss_stat: Raw = ["rss_stat"],
        /// Size of all VMAs in pages.
        total_vm: u64 = ["total_vm"],
        /// `VM_*` flags of new VMAs: `mlockall(MCL_FUTURE)`.
        def_flags: u64 = ["def_flags"],
        /// Bits of addresses that the CPU passes over (`ARCH_ENABLE_TAGGED_ADDR`),
        /// where kernels have that.
        lam_mask: u64 = ?["context.lam_cr3_mask"],
        /// `MEMBARRIER_STATE_*`.
        membarrier_state: u32 = ["membarrier_state.counter"],
    }
}

kernel_struct! {
    /// The code that the kernel maps into each process: `struct vdso_image`.
    pub struct VdsoImage: "vdso_image" {
        /// Its address in the kernel image.
        data: GuestVirt = ["data"],
        /// Its size in bytes, whole pages.
        size: u64 = ["size"],
    }
}

kernel_struct! {
    /// Resident pages by kind, up to 6.1: `struct mm_rss_stat`.
    (optional) pub struct MmRssStat: "mm_rss_stat" {
        /// `atomic_long_t[4]`.
        count: Raw = ?["count"],
    }
}

/// Kinds of resident page: `MM_FILEPAGES`, `MM_ANONPAGES` and `MM_SHMEMPAGES`
/// (`include/linux/mm_types_task.h`).
const RESIDENT_KINDS: [u64; 3] = [0, 1, 3];
/// `MM_ANONPAGES`, pages that belong to the process.
pub(super) const ANONYMOUS: u64 = 1;
/// `MM_SWAPENTS`, pages that are on a swap device.
const SWAPPED: u64 = 2;

impl<'k> Mm<'k> {
    /// Resident pages, as `VmRSS` of `/proc/PID/status` counts them. Up to 6.1
    /// without what threads have counted and not yet handed in, 64 pages each
    /// at most (`TASK_RSS_EVENTS_THRESH`, `mm/memory.c`); later with what the
    /// CPUs have, which `/proc` leaves out.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn resident_pages(&self) -> Result<u64, KernelError> {
        RESIDENT_KINDS
            .iter()
            .try_fold(0, |pages: u64, kind| Ok(pages.saturating_add(self.counted_pages(*kind)?)))
    }

    /// Pages that are swapped out, as `VmSwap` of `/proc/PID/status` counts
    /// them, and as exactly as [`resident_pages`](Self::resident_pages).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn swapped_pages(&self) -> Result<u64, KernelError> {
        self.counted_pages(SWAPPED)
    }

    /// Pages of the process's own that its page tables map: anonymous memory, and
    /// copies of file pages; not those of hugetlbfs, nor the pages of zeros that
    /// all share. Exact where nothing is just being mapped, with what threads
    /// have yet to hand in ([`Task::anonymous_pages`](super::Task::anonymous_pages)).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn anonymous_pages(&self) -> Result<i64, KernelError> {
        self.counter(ANONYMOUS)
    }

    fn counted_pages(&self, kind: u64) -> Result<u64, KernelError> {
        // It can be negative for a moment (`get_mm_counter()`).
        Ok(u64::try_from(self.counter(kind)?).unwrap_or(0))
    }

    fn counter(&self, kind: u64) -> Result<i64, KernelError> {
        let (kernel, place) = (self.kernel(), self.rss_stat()?);
        match MmRssStat::at(kernel, place.addr())?.count()? {
            Some(counters) => {
                let mut word = [0; 8];
                kernel.read(counters.addr().wrapping_add(kind * 8), &mut word)?;
                Ok(i64::from_le_bytes(word))
            }
            None => Array::<PercpuCounter<'_>>::load(place)?.get(kind)?.sum(),
        }
    }

    /// The process's memory as its own page tables map it.
    ///
    /// # Errors
    ///
    /// Where the page tables cannot be found.
    pub fn space(&self) -> Result<AddressSpace, KernelError> {
        self.kernel().user_space(self.pgd()?)
    }

    /// The VMAs by ascending address.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the kernel's count, order or sizes do not
    /// hold.
    pub fn vmas(&self) -> Result<Vec<Vma<'k>>, KernelError> {
        let expected = self.map_count()? as usize;
        let corrupt =
            |why| KernelError::Corrupt { what: "mm_struct".into(), addr: self.addr(), why };
        if expected > MAX_VMAS {
            return Err(corrupt(format!("map_count is {expected}")));
        }
        let mut vmas = Vec::new();
        if let Some(tree) = self.mm_mt()? {
            for addr in tree.entries(expected)? {
                vmas.push(Vma::at(self.kernel(), addr)?);
            }
        } else {
            let mut next = self.mmap()?.flatten();
            while let Some(vma) = next {
                if vmas.len() == expected {
                    return Err(corrupt(format!(
                        "the list has more VMAs than map_count, {expected}"
                    )));
                }
                vmas.push(vma);
                next = vma.next()?.flatten();
            }
        }
        if vmas.len() != expected {
            return Err(corrupt(format!(
                "{} VMAs are linked, map_count is {expected}",
                vmas.len()
            )));
        }
        let mut free_from = 0;
        for vma in &vmas {
            let (start, end) = (vma.start()?, vma.end()?);
            if start < free_from || end <= start || (start | end) % crate::memory::PAGE_SIZE != 0 {
                return Err(corrupt(format!("the VMA {start:#x}-{end:#x} is out of order")));
            }
            free_from = end;
        }
        Ok(vmas)
    }

    /// The auxiliary vector up to its end mark, as (type, value) words.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn saved_auxv(&self) -> Result<Vec<u64>, KernelError> {
        let place = self.auxv()?;
        // `AT_VECTOR_SIZE` was 46 in 5.10 and is 56 in 7.2.
        let mut bytes = [0; 8 * 128];
        let len = usize::try_from(place.size()).unwrap_or(bytes.len()).min(bytes.len());
        place.read(&mut bytes[..len])?;
        let words: Vec<u64> =
            bytes[..len].as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let end =
            words.chunks(2).position(|entry| entry[0] == 0).map_or(words.len(), |at| 2 * at + 2);
        Ok(words[..end.min(words.len())].to_vec())
    }
}
