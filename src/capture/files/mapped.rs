//! Files that areas of memory map.

use crate::linux::{File, Struct};
use crate::memory::GuestVirt;
use crate::snapshot::Mapped;

use super::super::error::CaptureError;
use super::super::obstacle::{Obstacles, Subject};
use super::Files;
use super::kind::Kind;
use super::outside::{Shared, Thing};

/// A deleted file that processes write to by mapping it.
pub(super) struct MappedGhost {
    subject: Subject,
    holder: String,
    inode: GuestVirt,
}

impl<'k> Files<'k> {
    /// The file of an area of a process; `None` with an obstacle where it
    /// cannot be saved. `is_written` says that the area is shared, and that it
    /// can be written to.
    pub(in super::super) fn mapped(
        &mut self,
        file: &File<'k>,
        is_written: bool,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Mapped>, CaptureError> {
        match Kind::of(file, &self.unlinked)? {
            Kind::Unsupported(what) => {
                obstacles.add(format!("{holder} is {what}"));
                Ok(None)
            }
            Kind::Memory => {
                let memory = self.memory(file, holder, obstacles)?;
                if let Some(memory) = memory {
                    self.refers_to(memory, file);
                }
                Ok(memory.map(Mapped::Memory))
            }
            // They have no operation for that.
            Kind::Pidfd(_) | Kind::Event(_) => {
                obstacles.add(format!("{holder} is a descriptor that cannot be mapped"));
                Ok(None)
            }
            Kind::Socket => {
                obstacles.add(format!("{holder} is a socket"));
                Ok(None)
            }
            Kind::Terminal => {
                obstacles.add(format!("{holder} is a terminal"));
                Ok(None)
            }
            Kind::Path | Kind::Pipe => {
                let Some(path) = self.mapped_path(file, holder, obstacles)? else {
                    return Ok(None);
                };
                let is_ghost = self.tables.paths.get(path).is_some_and(|path| path.ghost.is_some());
                if let Some(inode) = file.inode()?.filter(|_| is_written && is_ghost) {
                    let (subject, inode) = (obstacles.subject(), inode.addr());
                    self.budget.take_for::<MappedGhost>(1)?;
                    let ghost = MappedGhost { subject, holder: holder.to_owned(), inode };
                    self.mapped_ghosts.push(ghost);
                }
                Ok(Some(Mapped::Path(path)))
            }
        }
    }
}

impl MappedGhost {
    /// Notes the file; others that have it are looked for each time.
    pub(super) fn shared(&self) -> Shared<'_> {
        Shared {
            thing: Thing::Mapped(self.inode),
            subject: &self.subject,
            holder: &self.holder,
            what: "is a deleted file",
            is_certain: false,
        }
    }
}
