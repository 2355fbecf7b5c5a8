//! Sizes on the command line.

/// A number of bytes, as `64K`, in powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, parse_size::Error> {
    parse_size::Config::new().with_binary().parse_size(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("77", 77), ("64K", 64 << 10), ("1M", 1 << 20)] {
            assert_eq!(size(text).ok(), Some(bytes), "{text}");
        }
        assert_eq!(size("3G").ok(), Some(3 << 30));
        for text in ["", "K", "-1", "1X", "99999999999G"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }
}
