//! Options of sockets of any family.

use super::super::super::proto;
use crate::snapshot::{FilterInstruction, SocketOptions};

/// What `setsockopt()` has set.
pub fn entry(options: &SocketOptions) -> proto::SkOptsEntry {
    proto::SkOptsEntry {
        so_sndbuf: options.sndbuf,
        so_rcvbuf: options.rcvbuf,
        so_snd_tmo_sec: options.sndtimeo.seconds,
        so_snd_tmo_usec: options.sndtimeo.microseconds.into(),
        so_rcv_tmo_sec: options.rcvtimeo.seconds,
        so_rcv_tmo_usec: options.rcvtimeo.microseconds.into(),
        reuseaddr: Some(options.reuseaddr),
        so_priority: Some(options.priority),
        so_rcvlowat: Some(options.rcvlowat),
        // It takes a privilege to set it.
        so_mark: Some(options.mark).filter(|mark| *mark != 0),
        so_passcred: Some(options.passcred),
        so_passsec: Some(options.passsec),
        so_dontroute: Some(options.dontroute),
        so_no_check: Some(options.no_check),
        so_bound_dev: options.bound_dev.as_ref().map(ToString::to_string),
        so_filter: options.filter.iter().map(instruction).collect(),
        so_reuseport: Some(options.reuseport),
        so_broadcast: Some(options.broadcast),
        so_keepalive: Some(options.keepalive),
        so_oobinline: Some(options.oobinline.into()),
        so_linger: options.linger,
        so_buf_lock: options.buf_lock,
        // In `tcp_opts`.
        tcp_keepcnt: None,
        tcp_keepidle: None,
        tcp_keepintvl: None,
    }
}

/// `encode_filter()` (`criu/sockets.c`)
fn instruction(FilterInstruction { code, jt, jf, k }: &FilterInstruction) -> u64 {
    u64::from(*code) << 48 | u64::from(*jt) << 40 | u64::from(*jf) << 32 | u64::from(*k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_words() {
        let of = FilterInstruction { code: 0x15, jt: 1, jf: 2, k: 0x8000_0003 };
        assert_eq!(instruction(&of), 0x0015_0102_8000_0003);
    }
}
