//! Keeping a save at the rate that the user has set.

use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long nobody looks whether the save is to end.
const GLANCE: Duration = Duration::from_millis(50);

/// At most so many bytes a second, by all workers together.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second; `None` where there is no limit.
    rate: Option<u64>,
    /// When the next may go out.
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, next: Mutex::new(Instant::now()) }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.rate.is_some()
    }

    /// Waits until `bytes` may go out, or until `is_over`.
    pub(super) fn wait(&self, bytes: u64, is_over: impl Fn() -> bool) {
        let Some(rate) = self.rate else { return };
        let start = self.book(bytes, rate, Instant::now());
        while !is_over() {
            let left = start.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sleep(left.min(GLANCE));
        }
    }

    /// When `bytes` may go out that are asked for at `now`. Time in which nothing
    /// was asked for is not made up for.
    fn book(&self, bytes: u64, rate: u64, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*next).max(now);
        *next = start + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_out_at_their_rate() {
        let pace = Pace::new(Some(1000));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.book(2000, 1000, start), start);
        assert_eq!(pace.book(1000, 1000, start), after(2));
        assert_eq!(pace.book(1000, 1000, after(1)), after(3));
        // Nobody has asked for six seconds.
        assert_eq!(pace.book(1000, 1000, after(10)), after(10));
        assert_eq!(pace.book(1000, 1000, after(10)), after(11));
    }

    #[test]
    fn what_is_over_does_not_wait() {
        let pace = Pace::new(Some(1));
        pace.wait(u64::from(u32::MAX), || false);
        pace.wait(1, || true);
    }
}
