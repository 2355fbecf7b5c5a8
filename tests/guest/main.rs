//! Tests of `ovmigrate` on real guests: see `harness` for the VMs.
//!
//! A guest that does not come up fails them; nothing is skipped.

mod aio;
mod attaching;
mod cgroups;
mod claiming;
mod confinement;
mod control;
mod cpu;
mod crossing;
mod decoded;
mod differential;
mod events;
mod families;
mod files;
mod freezing;
mod harness;
mod identity;
mod interrupted;
mod later;
mod libvirt;
mod looking;
mod lying;
mod machines;
mod migrating;
mod moving;
mod not_kept;
mod profiles;
mod programs;
mod random;
mod refusing;
mod registered;
mod restoring;
mod screens;
mod seccomp;
mod servers;
mod sharing;
mod shell_jobs;
mod signals;
mod sleeping;
mod sockets;
mod terminals;
mod trees;
mod writing;
