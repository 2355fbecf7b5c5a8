//! What sockets have queued: `struct sk_buff`.

use crate::kernel::KernelError;
use crate::linux::list::MAX_ENTRIES;
use crate::linux::page::Page;
use crate::linux::view::{Ptr, Raw, Struct};
use crate::memory::GuestVirt;

use super::sock::Sock;

/// The longest buffer that is read, in bytes. A linear part is at most 4 MiB
/// (`KMALLOC_MAX_SIZE`), and so are 17 fragments.
const MAX_LENGTH: u32 = 8 << 20;

kernel_struct! {
    /// A queue of buffers, as a circular list: `struct sk_buff_head`.
    pub struct SkBuffHead: "sk_buff_head" {
        /// The first buffer, or the head itself.
        next: GuestVirt = ["next"],
        /// How many there are.
        qlen: u32 = ["qlen"],
    }
}

kernel_struct! {
    /// A buffer: `struct sk_buff`.
    pub struct SkBuff: "sk_buff" {
        /// The next one in the queue, or the head.
        next: GuestVirt = ["next"],
        /// The one before.
        prev: GuestVirt = ["prev"],
        /// Who sent it, or whose it is.
        sk: Ptr<Sock<'k>> = ["sk"],
        /// What the family keeps with it.
        cb: Raw = ["cb"],
        /// Bytes in all.
        len: u32 = ["len"],
        /// Bytes that are in fragments.
        data_len: u32 = ["data_len"],
        /// Where its memory begins.
        head: GuestVirt = ["head"],
        /// Where its data begins.
        data: GuestVirt = ["data"],
        /// Where [`SkbSharedInfo`] lies, from `head` on.
        end: u32 = ["end"],
    }
}

kernel_struct! {
    /// The fragments of a buffer: `struct skb_shared_info`.
    pub struct SkbSharedInfo: "skb_shared_info" {
        /// How many there are.
        nr_frags: u8 = ["nr_frags"],
        /// More buffers, chained.
        frag_list: GuestVirt = ["frag_list"],
        /// The fragments: [`SkbFrag`], or [`BioVec`] where there is none.
        frags: Raw = ["frags"],
    }
}

kernel_struct! {
    /// A piece of a page: `struct bio_vec`, which fragments were before 6.9.
    pub struct BioVec: "bio_vec" {
        /// The first page.
        page: Ptr<Page<'k>> = ["bv_page"],
        /// Bytes.
        len: u32 = ["bv_len"],
        /// Where in the page they begin.
        offset: u32 = ["bv_offset"],
    }
}

kernel_struct! {
    /// A fragment of a buffer: `struct skb_frag`.
    (optional) pub struct SkbFrag: "skb_frag" {
        /// The first page; with the lowest bit set, memory of a device. Older
        /// kernels have other structures of this name.
        page: GuestVirt = ?["netmem"],
        /// Bytes.
        len: u32 = ?["len"],
        /// Where in the page they begin.
        offset: u32 = ?["offset"],
    }
}

/// Bytes of a buffer in one piece of physical memory.
struct Fragment<'k> {
    page: Option<Page<'k>>,
    offset: u32,
    len: u32,
}

impl<'k> Fragment<'k> {
    fn of_skb_frag(frag: &SkbFrag<'k>) -> Result<Option<Self>, KernelError> {
        let (Some(page), Some(offset), Some(len)) = (frag.page()?, frag.offset()?, frag.len()?)
        else {
            return Ok(None);
        };
        let page = Some(page).filter(|page| page.get() & 1 == 0);
        let page = page.map(|at| Page::at(frag.kernel(), at)).transpose()?;
        Ok(Some(Self { page, offset, len }))
    }

    fn of_bio_vec(frag: &BioVec<'k>) -> Result<Self, KernelError> {
        Ok(Self { page: frag.page()?, offset: frag.offset()?, len: frag.len()? })
    }
}

impl<'k> SkBuffHead<'k> {
    /// The buffers, in the order in which they are taken.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the list does not end or is being changed.
    pub fn buffers(&self) -> Result<Vec<SkBuff<'k>>, KernelError> {
        let corrupt = |why: String| KernelError::Corrupt {
            what: "sk_buff_head".into(),
            addr: self.addr(),
            why,
        };
        let mut buffers = Vec::new();
        let (mut before, mut at) = (self.addr(), self.next()?);
        while at != self.addr() {
            if !at.is_kernel() || buffers.len() >= MAX_ENTRIES {
                return Err(corrupt(format!("{before} links to {at}")));
            }
            let buffer = SkBuff::at(self.kernel(), at)?;
            // One that was taken out links nowhere.
            if buffer.prev()? != before {
                return Err(corrupt(format!("{at} does not link back to {before}")));
            }
            buffers.push(buffer);
            (before, at) = (at, buffer.next()?);
        }
        Ok(buffers)
    }

    /// Whether nothing is queued.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_empty(&self) -> Result<bool, KernelError> {
        Ok(self.next()? == self.addr())
    }
}

impl<'k> SkBuff<'k> {
    /// All its bytes, `len` of them as [`checked_len`](Self::checked_len) said.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where it has as many no more, or is none.
    pub fn bytes(&self, len: u32) -> Result<Vec<u8>, KernelError> {
        let in_fragments = self.data_len()?;
        let linear = len.checked_sub(in_fragments);
        let linear =
            linear.ok_or_else(|| self.corrupt(format!("{in_fragments} of {len} bytes")))?;
        let mut bytes = vec![0; linear as usize];
        self.kernel().read(self.data()?, &mut bytes)?;
        if in_fragments == 0 {
            return Ok(bytes);
        }
        for Fragment { page, offset, len: part } in self.fragments()? {
            let at = page.and_then(|page| page.phys());
            let at = at.and_then(|frame| frame.checked_add(u64::from(offset)));
            let at = at.ok_or_else(|| self.corrupt("its data lies nowhere".into()))?;
            let start = bytes.len();
            if start as u64 + u64::from(part) > u64::from(len) {
                return Err(self.corrupt(format!("its fragments are longer than {len} bytes")));
            }
            bytes.resize(start + part as usize, 0);
            self.kernel().space().memory().read(at, &mut bytes[start..])?;
        }
        match bytes.len() == len as usize {
            true => Ok(bytes),
            false => Err(self.corrupt(format!("{} of {len} bytes are there", bytes.len()))),
        }
    }

    /// Bytes in all.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where it is longer than any buffer.
    pub fn checked_len(&self) -> Result<u32, KernelError> {
        match self.len()? {
            len @ 0..=MAX_LENGTH => Ok(len),
            len => Err(self.corrupt(format!("it has {len} bytes"))),
        }
    }

    fn fragments(&self) -> Result<Vec<Fragment<'k>>, KernelError> {
        let kernel = self.kernel();
        let info = self.head()?.wrapping_add(u64::from(self.end()?));
        let info = SkbSharedInfo::at(kernel, info)?;
        let (count, frags) = (u64::from(info.nr_frags()?), info.frags()?);
        if !info.frag_list()?.is_null() {
            return Err(self.corrupt("it is a chain".into()));
        }
        let size = BioVec::at(kernel, frags.addr())?.size();
        if count * size > frags.size() {
            return Err(self.corrupt(format!("it has {count} fragments")));
        }
        let fragment = |number: u64| {
            let at = frags.addr().wrapping_add(number * size);
            match SkbFrag::exists(kernel) {
                true => Fragment::of_skb_frag(&SkbFrag::at(kernel, at)?),
                false => Ok(None),
            }?
            .map_or_else(|| Fragment::of_bio_vec(&BioVec::at(kernel, at)?), Ok)
        };
        (0..count).map(fragment).collect()
    }

    fn corrupt(&self, why: String) -> KernelError {
        KernelError::Corrupt { what: "sk_buff".into(), addr: self.addr(), why }
    }
}
