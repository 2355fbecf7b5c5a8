//! Sockets: one file for each family, their options and what is in their queues.

mod inet;
mod netlink;
mod options;
mod packet;
mod queue;
mod unix;

use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::set::ImageSet;

pub use inet::check as check_inet;
pub use netlink::check as check_netlink;
pub use packet::check as check_packet;
pub use unix::check as check_unix;

/// What sockets are to each other.
pub fn check(set: &ImageSet, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::Files, 0, None);
    unix::check_peers(set, &mut found);
    queue::check(set, findings);
}

/// `SK_SHUTDOWN__*`
fn check_shutdown(id: u32, field: &str, shutdown: Option<i32>, found: &mut ImageFindings<'_>) {
    let is_known = shutdown.is_none_or(|shutdown| (0..=3).contains(&shutdown));
    found.require(is_known, field, || format!("of file {id} is {}", shutdown.unwrap_or(0)));
}
