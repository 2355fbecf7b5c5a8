//! Tests of `ovmigrate` on real guests: see `harness` for the VMs.
//!
//! A guest that does not come up fails them; nothing is skipped.

mod attaching;
mod claiming;
mod control;
mod crossing;
mod decoded;
mod differential;
mod families;
mod files;
mod freezing;
mod harness;
mod identity;
mod interrupted;
mod libvirt;
mod looking;
mod lying;
mod machines;
mod migrating;
mod moving;
mod profiles;
mod programs;
mod random;
mod refusing;
mod restoring;
mod sharing;
mod signals;
mod sleeping;
mod trees;
mod writing;
