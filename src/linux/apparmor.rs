//! AppArmor, the security module that confines programs by profiles
//! (`security/apparmor/`).

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::cred::Cred;
use super::lsm::{LsmBlobSizes, part};
use super::string::text_at;
use super::task::Task;
use super::view::{Embedded, Ptr, Struct};

/// Longest name of a profile that is read, in bytes. Its children's names come
/// behind it.
const MAX_NAME: usize = 4096;

bitflags::bitflags! {
    /// `enum label_flags` (`security/apparmor/include/label.h`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LabelFlags: u64 {
        /// It confines nothing.
        const UNCONFINED = 0x2;
        /// Made up by the kernel while it learns what a program does.
        const NULL = 0x4;
        /// Part of a profile.
        const PROFILE = 0x200;
        /// Another has taken its place.
        const STALE = 0x800;
        const _ = !0;
    }
}

kernel_struct! {
    /// What confines a thread, one profile or several: `struct aa_label`.
    (optional) pub struct AaLabel: "aa_label" {
        /// [`LabelFlags`] bits.
        raw_flags: u64 = ["flags"],
        /// By which it is found once another has taken its place.
        proxy: Ptr<AaProxy<'k>> = ["proxy"],
    }
}

kernel_struct! {
    /// `struct aa_proxy`.
    (optional) pub struct AaProxy: "aa_proxy" {
        /// The newest one.
        label: Ptr<AaLabel<'k>> = ["label"],
    }
}

kernel_struct! {
    /// `struct aa_profile`.
    (optional) pub struct AaProfile: "aa_profile" {
        /// Its name and those of its parents: `/usr/bin/man//filter`.
        hname: GuestVirt = ["base.hname"],
        /// The namespace of policies that it is in.
        ns: Ptr<AaNs<'k>> = ["ns"],
        /// As a label.
        label: Embedded<AaLabel<'k>> = ["label"],
    }
}

kernel_struct! {
    /// A namespace of policies: `struct aa_ns`.
    (optional) pub struct AaNs: "aa_ns" {
        /// That it is within; null for the first one.
        parent: GuestVirt = ["parent"],
    }
}

kernel_struct! {
    /// AppArmor's part of a task: `struct aa_task_ctx`.
    (optional) pub struct AaTaskCtx: "aa_task_ctx" {
        /// What the next `execve()` changes to.
        onexec: GuestVirt = ["onexec"],
        /// What `aa_change_hat()` goes back to.
        previous: GuestVirt = ["previous"],
    }
}

/// What confines a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Nothing.
    Unconfined,
    /// A profile of this name.
    Profile(Vec<u8>),
    /// Several profiles at once.
    Stack,
    /// A profile of a namespace of policies.
    Namespace,
    /// One that the kernel made up while it learns.
    Learning,
}

fn sizes(kernel: &Kernel) -> Result<Option<LsmBlobSizes<'_>>, KernelError> {
    LsmBlobSizes::of(kernel, "apparmor_blob_sizes", "apparmor_initialized")
}

impl<'k> AaLabel<'k> {
    fn flags(&self) -> Result<LabelFlags, KernelError> {
        Ok(LabelFlags::from_bits_retain(self.raw_flags()?))
    }

    /// That which has taken its place: `aa_get_newest_label()`.
    fn newest(self) -> Result<Self, KernelError> {
        if !self.flags()?.contains(LabelFlags::STALE) {
            return Ok(self);
        }
        let proxy = self.proxy()?.map_or(Ok(None), |proxy| proxy.label())?;
        Ok(proxy.unwrap_or(self))
    }

    fn confinement(&self, kernel: &'k Kernel) -> Result<Confinement, KernelError> {
        let flags = self.flags()?;
        if !flags.contains(LabelFlags::PROFILE) {
            return Ok(Confinement::Stack);
        }
        let profile = AaProfile::container_of(kernel, self.addr(), "label")?;
        let is_within = match profile.ns()? {
            Some(ns) => !ns.parent()?.is_null(),
            None => false,
        };
        let name = text_at(kernel, profile.hname()?, MAX_NAME)?;
        // A profile may say `unconfined` of itself and have a name.
        let is_nothing = flags.contains(LabelFlags::UNCONFINED) && name == b"unconfined";
        Ok(match () {
            () if is_within => Confinement::Namespace,
            () if is_nothing => Confinement::Unconfined,
            () if flags.contains(LabelFlags::NULL) => Confinement::Learning,
            () => Confinement::Profile(name),
        })
    }
}

impl Cred<'_> {
    /// By what AppArmor confines the threads that have these credentials.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a name without an end.
    pub fn apparmor(&self) -> Result<Confinement, KernelError> {
        let kernel = self.kernel();
        let Some(sizes) = sizes(kernel)? else { return Ok(Confinement::Unconfined) };
        let Some(part) = part(self.security()?, sizes.cred()?) else {
            return Ok(Confinement::Unconfined);
        };
        let mut label = [0; 8];
        kernel.read(part, &mut label)?;
        match GuestVirt::new(u64::from_le_bytes(label)) {
            GuestVirt::NULL => Ok(Confinement::Unconfined),
            label => AaLabel::at(kernel, label)?.newest()?.confinement(kernel),
        }
    }
}

impl Task<'_> {
    /// Whether AppArmor is to change what confines the thread: at its next
    /// `execve()`, or when it leaves its hat.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn changes_its_profile(&self) -> Result<bool, KernelError> {
        let kernel = self.kernel();
        let Some(sizes) = sizes(kernel)? else { return Ok(false) };
        let security = self.security()?.unwrap_or(GuestVirt::NULL);
        let Some(part) = part(security, sizes.task()?) else { return Ok(false) };
        let context = AaTaskCtx::at(kernel, part)?;
        Ok(!context.onexec()?.is_null() || !context.previous()?.is_null())
    }
}
