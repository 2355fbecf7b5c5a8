//! Reads a frozen process into a [`Snapshot`](crate::snapshot::Snapshot).

pub mod xsave;
