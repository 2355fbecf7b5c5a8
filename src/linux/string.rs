//! Strings of the kernel.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

/// Longest name that is read. Names of file system types, kinds of namespace
/// and special mappings have 17 bytes at most.
const MAX_NAME: usize = 32;

/// How much of a text is read at once, in bytes.
const PIECE: usize = 64;

/// The NUL-terminated name at `addr`, cut after [`MAX_NAME`] bytes.
pub(super) fn name_at(kernel: &Kernel, addr: GuestVirt) -> Result<String, KernelError> {
    let mut name = [0; MAX_NAME];
    kernel.read(addr, &mut name)?;
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..len]).into_owned())
}

/// The NUL-terminated text at `addr`, which may end where memory does.
///
/// # Errors
///
/// [`KernelError::Corrupt`] for more than `max` bytes.
pub(super) fn text_at(
    kernel: &Kernel,
    addr: GuestVirt,
    max: usize,
) -> Result<Vec<u8>, KernelError> {
    let mut text = Vec::new();
    while text.len() < max {
        let mut piece = [0; PIECE];
        let at = addr.wrapping_add(text.len() as u64);
        // No piece reaches into a page that the text may not.
        let len = PIECE - at.get() as usize % PIECE;
        kernel.read(at, &mut piece[..len])?;
        match piece[..len].iter().position(|&byte| byte == 0) {
            Some(end) => {
                text.extend_from_slice(&piece[..end]);
                return Ok(text);
            }
            None => text.extend_from_slice(&piece[..len]),
        }
    }
    let why = format!("it has no end within {max} bytes");
    Err(KernelError::Corrupt { what: "a text".into(), addr, why })
}
