//! From a code address to the name of its function, for error messages.

use std::ops::ControlFlow;

use crate::memory::GuestVirt;

use super::error::KernelError;
use super::image::Kernel;
use super::image_copy::ImageCopy;
use super::kallsyms::Kallsyms;

/// Bytes of the image in which the symbol tables are looked for, from `_stext`
/// on: distributions' kernels have them within 40 MiB.
const LOOKED_AT: u64 = 64 << 20;

impl Kernel {
    /// The functions that code addresses lie in; `None` for what is no address
    /// of the kernel's code. Reads the symbol tables anew, which takes as long
    /// as a first attach.
    ///
    /// # Errors
    ///
    /// [`KernelError::Kallsyms`], or where the image cannot be read.
    pub fn functions_at(&self, addrs: &[GuestVirt]) -> Result<Vec<Option<String>>, KernelError> {
        let image = self.image_copy()?;
        let mut order: Vec<usize> = (0..addrs.len()).collect();
        order.sort_by_key(|&index| addrs[index]);
        let mut names = vec![None; addrs.len()];
        let mut next =
            order.into_iter().skip_while(|&index| addrs[index] < image.start()).peekable();
        let mut function: Option<String> = None;
        Kallsyms::search(&image)?.visit(|symbol| {
            while let Some(index) = next.next_if(|&index| addrs[index] < symbol.addr) {
                names[index].clone_from(&function);
            }
            // Per-CPU variables come before the code, data behind it.
            let is_code = symbol.kind.eq_ignore_ascii_case(&b't') && symbol.addr >= image.start();
            let is_end = symbol.name == "_etext";
            function = (is_code && !is_end).then(|| symbol.name.to_owned());
            if is_end || next.peek().is_none() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(names)
    }

    fn image_copy(&self) -> Result<ImageCopy, KernelError> {
        let start = self.base_symbol("_stext")?;
        let phys = self.located().image_phys(start);
        let memory = self.space().memory();
        // The end of RAM may be nearer.
        let mut len = LOOKED_AT;
        loop {
            let end = start.wrapping_add(len);
            match ImageCopy::read(memory, phys, start..end) {
                Err(_) if len > LOOKED_AT / 4 => len /= 2,
                result => return result,
            }
        }
    }
}
