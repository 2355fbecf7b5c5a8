//! Short strings of the kernel image.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

/// Longest name that is read. Names of file system types, kinds of namespace
/// and special mappings have 17 bytes at most.
const MAX_NAME: usize = 32;

/// The NUL-terminated name at `addr`, cut after [`MAX_NAME`] bytes.
pub(super) fn name_at(kernel: &Kernel, addr: GuestVirt) -> Result<String, KernelError> {
    let mut name = [0; MAX_NAME];
    kernel.read(addr, &mut name)?;
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..len]).into_owned())
}
