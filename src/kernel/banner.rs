//! `linux_banner`: how a kernel introduces itself (`init/version.c`).

/// How it begins; the release follows, and a blank and a parenthesis behind.
pub(super) const START: &str = "Linux version ";
/// `__NEW_UTS_LEN` (`include/uapi/linux/utsname.h`).
const RELEASE_MAX: usize = 64;

/// The release (`uname -r`) that the banner at the start of `bytes` tells.
pub(super) fn release(bytes: &[u8]) -> Option<&str> {
    let rest = bytes.strip_prefix(START.as_bytes())?;
    let end = memchr::memchr(b' ', &rest[..rest.len().min(RELEASE_MAX + 1)])?;
    let release = str::from_utf8(&rest[..end]).ok().filter(|release| is_release(release))?;
    rest[end..].starts_with(b" (").then_some(release)
}

/// Whether this is a word as a release is: printable, without blanks, and not
/// longer than the kernel allows.
pub(super) fn is_release(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    plain && !text.is_empty() && text.len() <= RELEASE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_word_after_the_start() {
        assert_eq!(release(b"Linux version 6.1.0-50 (somebody@somewhere)"), Some("6.1.0-50"));
        let long = format!("Linux version {} (x)", "6".repeat(65));
        for other in ["Linux version 6.1.0", "Linux version 6.1.0 x", "Linux version  (x)", &long] {
            assert_eq!(release(other.as_bytes()), None, "{other}");
        }
    }
}
