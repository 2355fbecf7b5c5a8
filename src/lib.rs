//! Takes a running process, with all its descendants, out of one Linux VM and
//! lets it continue in another.
//!
//! Everything happens on the host. `ovmigrate` reads the guest's physical
//! memory through QEMU's memory backend, walks the guest kernel's own data
//! structures, freezes the process by rewriting signal state in guest memory,
//! and writes images that the stock `criu restore` accepts. Nothing is
//! installed or run in the source VM.
//!
//! # Rooms
//!
//! Data flows one way, from top to bottom; no room knows those below it.
//!
//! | room | what it holds |
//! |---|---|
//! | [`domain`] | a VM as the host sees it: finding it, QMP, gdb stub, guest agent |
//! | [`memory`] | guest-physical and guest-virtual memory, page tables |
//! | [`kernel`] | this guest kernel's image: symbols, types, the [`kernel::Profile`] |
//! | [`linux`] | typed views of kernel structures and collections |
//! | [`attach`] | from what a user calls a VM to a kernel that can be read |
//! | [`inspect`] | processes as `/proc` shows them, as plain data |
//! | [`control`] | pseudo-signals and pseudo-scheduling: freeze, thaw, signal |
//! | [`pack`] | compressed files, in frames that are found by a table |
//! | [`snapshot`] | a frozen process as plain data |
//! | [`capture`] | reads a frozen process into a [`snapshot`] |
//! | [`criu`] | CRIU's image files, written from a [`snapshot`] and checked |
//! | [`sink`] | where images go |
//! | [`save`] | one save as a transaction over all of the above |
//! | [`restore`] | images into the destination guest and `criu restore` there |
//! | [`mod@bench`] | what the commands reach, beside CRIU and beside what the host can do |
//!
//! # Rules
//!
//! Guest memory is hostile input: the library never panics on it, every walk
//! is bounded and every pointer checked. No process is killed before its
//! images are durable.

pub mod attach;
pub mod bench;
pub mod capture;
pub mod control;
pub mod criu;
pub mod domain;
pub mod inspect;
pub mod kernel;
pub mod linux;
pub mod memory;
pub mod pack;
pub mod restore;
pub mod save;
pub mod sink;
pub mod snapshot;
