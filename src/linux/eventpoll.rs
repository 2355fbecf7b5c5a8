//! Instances of epoll: `struct eventpoll` (`fs/eventpoll.c`).

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::file::File;
use super::rbtree::RbRoot;
use super::view::{Embedded, Ptr, Raw, Struct};

kernel_struct! {
    /// An instance of epoll: `struct eventpoll`.
    pub struct Eventpoll: "eventpoll" {
        /// What it watches.
        items: Embedded<RbRoot<'k>> = ["rbr.rb_root"],
        /// How long it polls network cards itself, in microseconds, since 6.9.
        busy_poll_usecs: u32 = ?["busy_poll_usecs"],
        /// Whether it would rather do so than be interrupted, since 6.9.
        prefer_busy_poll: bool = ?["prefer_busy_poll"],
    }
}

kernel_struct! {
    /// What an instance watches: `struct epitem`.
    pub struct Epitem: "epitem" {
        /// Its place among all of the instance.
        node: Raw = ["rbn"],
        /// The open file.
        file: Ptr<File<'k>> = ["ffd.file"],
        /// The descriptor that it was named by.
        fd: i32 = ["ffd.fd"],
        /// `EPOLL*`.
        events: u32 = ["event.events"],
        /// What the program is told with them.
        data: u64 = ["event.data"],
        /// Where it waits: the first link, in a list that ends with a null or
        /// up to 5.10 here.
        waits: Raw = ["pwqlist"],
    }
}

kernel_struct! {
    /// A place where an instance waits: `struct eppoll_entry`.
    pub struct EppollEntry: "eppoll_entry" {
        /// The link to the next one.
        link: Raw = ["next", "llink"],
        /// Address of the queue; null where that has gone.
        queue: GuestVirt = ["whead"],
    }
}

impl<'k> Eventpoll<'k> {
    /// The instance behind an open file.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of(file: &File<'k>) -> Result<Self, KernelError> {
        Self::at(file.kernel(), file.private_data()?)
    }

    /// What it watches.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn watched(&self) -> Result<Vec<Epitem<'k>>, KernelError> {
        self.items()?.entries("node")
    }
}

impl<'k> Epitem<'k> {
    /// The queue that it waits in, of a file with one: null where that has gone.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn queue(&self) -> Result<GuestVirt, KernelError> {
        let waits = self.waits()?;
        let mut first = [0; 8];
        waits.read(&mut first)?;
        let first = GuestVirt::new(u64::from_le_bytes(first));
        if first.is_null() || first == waits.addr() {
            return Ok(GuestVirt::NULL);
        }
        EppollEntry::container_of(self.kernel(), first, "link")?.queue()
    }
}
