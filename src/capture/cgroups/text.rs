//! Values as files of cgroupfs have them.

use crate::linux::PageCounter;
use crate::memory::PAGE_SIZE;

/// Pages in bytes, or that there is no limit.
pub(super) fn pages(pages: u64) -> String {
    if pages >= PageCounter::UNLIMITED { "max".into() } else { bytes(pages) }
}

/// Pages in bytes. Version 1 shows a number where there is no limit, too.
pub(super) fn bytes(pages: u64) -> String {
    pages.saturating_mul(PAGE_SIZE).to_string()
}

/// A number, or that there is no limit.
pub(super) fn up_to(number: u64, most: u64) -> String {
    if number >= most { "max".into() } else { number.to_string() }
}

/// Numbers as ranges, `0-1,3`.
pub(super) fn list(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// The size of huge pages of 2^`order` pages, as names of files have it
/// (`mem_fmt()`, `mm/hugetlb_cgroup.c`).
pub(super) fn huge_page_size(order: u32) -> String {
    let size = PAGE_SIZE.checked_shl(order).unwrap_or(0);
    match size {
        size if size >= 1 << 30 => format!("{}GB", size >> 30),
        size if size >= 1 << 20 => format!("{}MB", size >> 20),
        size => format!("{}KB", size >> 10),
    }
}

/// A weight of 1024 for 100, as the scheduler keeps it (`sched_weight_to_cgroup()`,
/// `kernel/sched/sched.h`).
pub(super) fn weight(shares: u64) -> u64 {
    (shares.saturating_mul(100).saturating_add(512)) / 1024
}

/// A weight as a user gave it, of what the scheduler keeps with 10 more bits
/// (`scale_load_down()`).
pub(super) fn scaled_down(shares: u64) -> u64 {
    match shares >> 10 {
        0 => 0,
        weight => weight.max(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_files() {
        assert_eq!(pages(PageCounter::UNLIMITED), "max");
        assert_eq!(pages(25600), "104857600");
        assert_eq!(bytes(PageCounter::UNLIMITED), "9223372036854771712");
        assert_eq!((up_to(7, 8), up_to(8, 8)), ("7".into(), "max".into()));
        assert_eq!(list(&[0, 1, 3, 5, 6, 7]), "0-1,3,5-7");
        assert_eq!(list(&[]), "");
        assert_eq!((huge_page_size(9), huge_page_size(18)), ("2MB".into(), "1GB".into()));
        // What is written is read again.
        for given in 1..=10000_u64 {
            let shares = (given * 1024 + 50) / 100;
            assert_eq!(weight(scaled_down(shares << 10)), given.max(weight(2)), "{given}");
        }
    }
}
