//! Options of sockets: what `setsockopt()` refuses ends the restore.

use crate::criu::findings::ImageFindings;
use crate::criu::proto::SkOptsEntry;

const USEC_PER_SEC: u64 = 1_000_000;
/// `SOCK_BUF_LOCK_MASK` (`include/uapi/linux/socket.h`).
const BUF_LOCKS: u32 = 3;
/// `BPF_MAXINSNS`
const MAX_INSTRUCTIONS: usize = 4096;
/// `IFNAMSIZ`, the zero at the end included.
const MAX_DEVICE: usize = 16;

pub fn check(id: u32, opts: &SkOptsEntry, found: &mut ImageFindings<'_>) {
    for (field, usec) in [
        ("opts.so_snd_tmo_usec", opts.so_snd_tmo_usec),
        ("opts.so_rcv_tmo_usec", opts.so_rcv_tmo_usec),
    ] {
        found.require(usec < USEC_PER_SEC, field, || format!("of file {id} is {usec}"));
    }
    found.require(
        opts.so_buf_lock.is_none_or(|locks| locks <= BUF_LOCKS),
        "opts.so_buf_lock",
        || format!("of file {id} is {:?}", opts.so_buf_lock),
    );
    let length = opts.so_filter.len();
    found.require(length <= MAX_INSTRUCTIONS, "opts.so_filter", || {
        format!("of file {id} has {length} instructions")
    });
    let is_name = |name: &String| !name.is_empty() && name.len() < MAX_DEVICE;
    found.require(opts.so_bound_dev.as_ref().is_none_or(is_name), "opts.so_bound_dev", || {
        format!("of file {id} is no name of a device")
    });
}
