//! Sizes on the command line.

/// A number of bytes, as `64K`, in powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, parse_size::Error> {
    parse_size::Config::new().with_binary().parse_size(text)
}
