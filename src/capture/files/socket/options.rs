//! Options of sockets of any family.

use crate::kernel::KernelError;
use crate::linux::Sock;
use crate::snapshot::{FilterInstruction, SocketOptions, SocketTime};

use super::super::super::obstacle::Obstacles;
use super::AF_UNIX;

/// `MAX_SCHEDULE_TIMEOUT`: a call that waits for ever.
const FOR_EVER: i64 = i64::MAX;
/// `SOCK_BUF_LOCK_MASK` of `sock.sk_userlocks` (`include/net/sock.h`).
const BUF_LOCKS: u8 = 3;
const USEC_PER_SEC: u64 = 1_000_000;

/// Reads the options, and notes those that no image holds.
pub(super) fn read(
    sock: &Sock<'_>,
    hz: u64,
    holder: &str,
    obstacles: &mut Obstacles,
) -> Result<SocketOptions, KernelError> {
    for name in in_no_image(sock)? {
        obstacles.add(format!("{holder} is a socket with {name}"));
    }
    let error = match sock.err()? {
        0 => sock.err_soft()?,
        error => error,
    };
    obstacles.add_if(error != 0, format!("{holder} is a socket with the error {error} pending"));
    let has_messages = !sock.error_queue()?.is_empty()?;
    obstacles
        .add_if(has_messages, format!("{holder} is a socket with messages in its error queue"));
    // `SOL_SOCKET` of unconnected sockets; by index, not name.
    let is_bound_to_device = sock.bound_dev_if()? != 0;
    obstacles.add_if(
        is_bound_to_device,
        format!("{holder} is a socket that is bound to a device (SO_BINDTODEVICE)"),
    );
    let flags = sock.flag_numbers()?;
    let lingers = sock.has_flag(flags.linger()?)?;
    let linger = sock.lingertime()?.checked_div(hz).unwrap_or(0);
    Ok(SocketOptions {
        sndbuf: sock.sndbuf()?,
        rcvbuf: sock.rcvbuf()?,
        // It came with the same kernel as the option.
        buf_lock: sock
            .bind_phc()?
            .map(|_| sock.userlocks())
            .transpose()?
            .map(|locks| u32::from(locks & BUF_LOCKS)),
        sndtimeo: time(sock.sndtimeo()?, hz),
        rcvtimeo: time(sock.rcvtimeo()?, hz),
        linger: lingers.then(|| u32::try_from(linger).unwrap_or(u32::MAX)),
        reuseaddr: sock.reuse()? != 0,
        reuseport: sock.reuseport()?,
        priority: sock.priority()?,
        rcvlowat: sock.rcvlowat()?,
        mark: sock.mark()?,
        passcred: sock.passes_credentials()?,
        passsec: sock.passes_security()?,
        dontroute: sock.has_flag(flags.localroute()?)?,
        no_check: sock.no_check_tx()?,
        broadcast: sock.has_flag(flags.broadcast()?)?,
        keepalive: sock.has_flag(flags.keepopen()?)?,
        oobinline: sock.has_flag(flags.urginline()?)?,
        bound_dev: None,
        filter: filter(sock)?,
    })
}

/// A time in jiffies as `getsockopt()` gives it (`sock_get_timeout()`,
/// `net/core/sock.c`).
fn time(jiffies: i64, hz: u64) -> SocketTime {
    let left = u64::try_from(jiffies).ok().filter(|_| jiffies != FOR_EVER && hz != 0);
    left.map_or(SocketTime::default(), |left| SocketTime {
        seconds: left / hz,
        microseconds: (left % hz * USEC_PER_SEC / hz) as u32,
    })
}

/// The instructions of its filter.
fn filter(sock: &Sock<'_>) -> Result<Vec<FilterInstruction>, KernelError> {
    let program = sock.filter()?.map_or(Ok(None), |filter| filter.prog())?;
    let Some(original) = program.map_or(Ok(None), |program| program.orig_prog())? else {
        return Ok(Vec::new());
    };
    let decode = |[c0, c1, jt, jf, k0, k1, k2, k3]: [u8; 8]| FilterInstruction {
        code: u16::from_le_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_le_bytes([k0, k1, k2, k3]),
    };
    Ok(original.instructions()?.into_iter().map(decode).collect())
}

/// What is set that no image of CRIU holds.
fn in_no_image(sock: &Sock<'_>) -> Result<Vec<&'static str>, KernelError> {
    let flags = sock.flag_numbers()?;
    let optional = |flag: Option<_>| flag.map_or(Ok(false), |flag| sock.has_flag(flag));
    let has_program = match sock.filter()? {
        Some(filter) => filter.prog()?.map_or(Ok(None), |program| program.orig_prog())?.is_none(),
        None => false,
    };
    let never_waits = sock.sndtimeo()? <= 0 || sock.rcvtimeo()? <= 0;
    let set = [
        (sock.peek_off()? >= 0, "SO_PEEK_OFF"),
        (sock.has_flag(flags.dbg()?)?, "SO_DEBUG"),
        (sock.has_flag(flags.rcvtstamp()?)?, "SO_TIMESTAMP"),
        (sock.has_flag(flags.rcvtstampns()?)?, "SO_TIMESTAMPNS"),
        (sock.tsflags()? != 0, "SO_TIMESTAMPING"),
        (sock.has_flag(flags.rxq_ovfl()?)?, "SO_RXQ_OVFL"),
        (sock.has_flag(flags.zerocopy()?)?, "SO_ZEROCOPY"),
        (sock.has_flag(flags.wifi_status()?)?, "SO_WIFI_STATUS"),
        (sock.has_flag(flags.nofcs()?)?, "SO_NOFCS"),
        (sock.has_flag(flags.filter_locked()?)?, "SO_LOCK_FILTER"),
        (sock.has_flag(flags.select_err_queue()?)?, "SO_SELECT_ERR_QUEUE"),
        (sock.has_flag(flags.txtime()?)?, "SO_TXTIME"),
        (optional(flags.rcvmark()?)?, "SO_RCVMARK"),
        (optional(flags.rcvpriority()?)?, "SO_RCVPRIORITY"),
        (sock.max_pacing_rate()? != u64::MAX, "SO_MAX_PACING_RATE"),
        (sock.ll_usec()?.unwrap_or(0) != 0, "SO_BUSY_POLL"),
        (sock.prefer_busy_poll()?.unwrap_or(false), "SO_PREFER_BUSY_POLL"),
        (sock.busy_poll_budget()?.unwrap_or(0) != 0, "SO_BUSY_POLL_BUDGET"),
        (sock.policies()?.is_some_and(|policies| policies != [0; 16]), "policies (IP_XFRM_POLICY)"),
        (sock.reserved_mem()?.unwrap_or(0) != 0, "SO_RESERVE_MEM"),
        (sock.passes_pidfd()?, "SO_PASSPIDFD"),
        // Only Unix sockets have it, and from the beginning.
        (sock.family()? == AF_UNIX && !sock.scm_rights()?.unwrap_or(true), "SO_PASSRIGHTS"),
        (has_program, "a program of eBPF (SO_ATTACH_BPF)"),
        (never_waits, "a negative SO_RCVTIMEO or SO_SNDTIMEO"),
    ];
    Ok(set.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_by_the_kernel() {
        let told = |jiffies, hz| {
            let SocketTime { seconds, microseconds } = time(jiffies, hz);
            (seconds, microseconds)
        };
        assert_eq!(told(FOR_EVER, 250), (0, 0));
        assert_eq!(told(1, 250), (0, 4000));
        assert_eq!(told(1000 * 250 + 249, 250), (1000, 996_000));
        assert_eq!(told(1, 300), (0, 3333));
        assert_eq!(told(-5, 250), (0, 0));
        assert_eq!(told(5, 0), (0, 0));
    }
}
