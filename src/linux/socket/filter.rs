//! Socket filters (`SO_ATTACH_FILTER`).

use crate::linux::bpf::BpfProg;
use crate::linux::view::Ptr;

kernel_struct! {
    /// A filter of a socket: `struct sk_filter`.
    pub struct SkFilter: "sk_filter" {
        /// Its program.
        prog: Ptr<BpfProg<'k>> = ["prog"],
    }
}
