//! The access ladder: which way to each piece of the guest's RAM is taken.

use std::io;
use std::sync::Arc;

use crate::domain::{BackingFile, Domain, RamBlock};
use crate::memory::{
    Backing, FilePiece, GuestMemory, GuestPhys, MappedFile, Pagemap, ProcessMemory, ProcessRam,
    Region,
};

use super::{AccessChoice, AttachError};

/// Opens all RAM of a guest.
///
/// # Errors
///
/// Where a piece cannot be reached.
pub(super) fn open_ram(domain: &Domain, choice: AccessChoice) -> Result<GuestMemory, AttachError> {
    let blocks = domain.ram_blocks()?;
    let mut ladder = Ladder { domain, choice, process: None };
    let regions = blocks.iter().map(|block| ladder.region(block));
    GuestMemory::new(regions.collect::<Result<_, _>>()?)
        .map_err(|source| AttachError::Memory { domain: domain.name().to_owned(), source })
}

/// The ways to a guest's memory, the best first.
struct Ladder<'a> {
    domain: &'a Domain,
    choice: AccessChoice,
    /// Opened for the first block that is reached through it.
    process: Option<Arc<ProcessMemory>>,
}

impl Ladder<'_> {
    fn region(&mut self, block: &RamBlock) -> Result<Region, AttachError> {
        let start = GuestPhys::new(block.guest_phys);
        Ok(Region { start, len: block.len, backing: self.backing(block)? })
    }

    fn backing(&mut self, block: &RamBlock) -> Result<Box<dyn Backing>, AttachError> {
        let shared = block.backing.as_ref().filter(|file| file.shared);
        match (self.choice, shared) {
            (AccessChoice::Map | AccessChoice::Auto, Some(shared)) => {
                match self.mapped(block, shared) {
                    Err(AttachError::Reach { source, .. }) if self.choice == AccessChoice::Auto => {
                        tracing::warn!(
                            "cannot map RAM of VM {}, taking the slower way: {source}",
                            self.domain.name()
                        );
                        self.process_ram(block)
                    }
                    mapped => mapped,
                }
            }
            (AccessChoice::Map, None) => Err(AttachError::Unshared {
                domain: self.domain.name().to_owned(),
                addr: GuestPhys::new(block.guest_phys),
            }),
            (AccessChoice::Auto | AccessChoice::Process, _) => self.process_ram(block),
        }
    }

    fn mapped(
        &self,
        block: &RamBlock,
        shared: &BackingFile,
    ) -> Result<Box<dyn Backing>, AttachError> {
        let piece = FilePiece { file: shared.open()?, offset: shared.offset };
        let pagemap = self.pagemap(block)?;
        let mapped = MappedFile::new(piece, block.len, Some(pagemap));
        Ok(Box::new(mapped.map_err(|source| self.cannot_reach(block, source))?))
    }

    fn process_ram(&mut self, block: &RamBlock) -> Result<Box<dyn Backing>, AttachError> {
        let process = match &self.process {
            Some(process) => process.clone(),
            None => {
                let process = self.domain.process().hold()?;
                let mem = process.open_memory()?;
                self.process.insert(Arc::new(ProcessMemory::new(process, mem))).clone()
            }
        };
        let file = match &block.backing {
            Some(file) => Some(FilePiece { file: file.open()?, offset: file.offset }),
            None => None,
        };
        let ram = ProcessRam::new(process, self.pagemap(block)?, file, block.len);
        Ok(Box::new(ram.map_err(|source| self.cannot_reach(block, source))?))
    }

    fn pagemap(&self, block: &RamBlock) -> Result<Pagemap, AttachError> {
        let file = self.domain.process().hold()?.open_pagemap()?;
        Ok(Pagemap { file, host_virt: block.host_virt })
    }

    fn cannot_reach(&self, block: &RamBlock, source: io::Error) -> AttachError {
        let addr = GuestPhys::new(block.guest_phys);
        AttachError::Reach { domain: self.domain.name().to_owned(), addr, source }
    }
}
