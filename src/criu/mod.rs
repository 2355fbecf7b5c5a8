//! CRIU's image files: written from a [`Snapshot`](crate::snapshot::Snapshot),
//! read back and checked.

/// Messages of the records in images, one for each in `proto/criu/`.
///
/// Where `restore` demands a field that these types hold as optional, the
/// check of a finished set says so; a `required` field is always written.
#[allow(missing_docs)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/criu.rs"));
}
