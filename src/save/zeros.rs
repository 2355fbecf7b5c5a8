//! Pages that hold nothing but zeros.

use std::ops::Range;

use crate::memory::PAGE_SIZE;

const PAGE: usize = PAGE_SIZE as usize;
/// Bytes that are looked at in one step.
const STEP: usize = 256;

/// The ranges of whole pages in `bytes` that are to go out, ascending and apart:
/// pages all of zeros do only where `goes_out`, asked with their offset, says so.
pub(super) fn kept(bytes: &[u8], mut goes_out: impl FnMut(usize) -> bool) -> Vec<Range<usize>> {
    let mut kept: Vec<Range<usize>> = Vec::new();
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        let start = number * PAGE;
        if is_zero(page) && !goes_out(start) {
            continue;
        }
        let end = start + page.len();
        match kept.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => kept.push(start..end),
        }
    }
    kept
}

/// Whether all bytes are zero. Most pages that hold anything begin with it.
pub fn is_zero(bytes: &[u8]) -> bool {
    // One comparison for each step lets the compiler take vectors for it.
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let is_zero = |bytes: &[u8]| bytes.iter().fold(0, |any, byte| any | byte) == 0;
    steps.iter().all(|step| is_zero(step)) && is_zero(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_anywhere_is_found() {
        let mut page = vec![0; PAGE];
        assert!(is_zero(&page) && is_zero(&page[..100]) && is_zero(&[]));
        for place in 0..PAGE {
            page[place] = 1;
            assert!(!is_zero(&page), "{place}");
            page[place] = 0;
        }
    }

    #[test]
    fn pages_of_zeros_stay_behind_where_they_may() {
        let mut bytes = vec![0; 7 * PAGE];
        for page in [0, 1, 4] {
            bytes[page * PAGE + 4000] = 7;
        }
        assert_eq!(kept(&bytes, |_| false), [0..2 * PAGE, 4 * PAGE..5 * PAGE]);
        let last = |offset| offset >= 5 * PAGE;
        assert_eq!(kept(&bytes, last), [0..2 * PAGE, 4 * PAGE..7 * PAGE]);
        let all = 0..7 * PAGE;
        assert_eq!(kept(&bytes, |_| true), std::slice::from_ref(&all));
        assert!(kept(&[], |_| true).is_empty());
    }
}
