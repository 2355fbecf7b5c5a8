//! Sequence locks: `seqlock_t` (`include/linux/seqlock.h`), as far as paths depend on
//! them.

use crate::kernel::{Kernel, KernelError};

use super::view::Struct;

/// What is held while a name moves to another place (`fs/dcache.c`), and while a
/// mount does (`fs/namespace.c`).
const OF_PATHS: [&str; 2] = ["rename_lock", "mount_lock"];
/// How often a path is read anew, without waiting in between: either takes some
/// microseconds.
const ATTEMPTS: u32 = 100;

kernel_struct! {
    /// A lock whose holder tells readers that they have to read again.
    (optional) pub struct Seqlock: "seqlock_t" {
        /// Odd while something is being changed, and another number afterwards.
        sequence: u32 = ["seqcount.seqcount.sequence", "seqcount.sequence"],
    }
}

/// What `read` gives while no name and no mount is being moved, as `d_path()` reads
/// it. Where others are moved all the time, it is what is read twice in a row.
///
/// # Errors
///
/// [`KernelError::Moving`] where one is being moved all the while, as it is where the
/// VM was paused in the middle of it; what `read` says.
pub(super) fn unmoved<T: PartialEq>(
    kernel: &Kernel,
    read: impl FnMut() -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    read_between(|| sequences(kernel), read)
}

type Sequences = [u32; OF_PATHS.len()];

fn read_between<T: PartialEq>(
    mut sequences: impl FnMut() -> Result<Sequences, KernelError>,
    mut read: impl FnMut() -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let before = sequences()?;
        if before.iter().any(|sequence| sequence % 2 == 1) {
            continue;
        }
        let found = read();
        if sequences()? == before || found.is_ok() && found.as_ref().ok() == last.as_ref() {
            return found;
        }
        last = found.ok();
    }
    Err(KernelError::Moving)
}

/// How far the locks are; 0 of one that is not known.
fn sequences(kernel: &Kernel) -> Result<Sequences, KernelError> {
    let mut sequences = [0; OF_PATHS.len()];
    for (sequence, name) in sequences.iter_mut().zip(OF_PATHS) {
        if let Some(lock) = kernel.symbol(name).filter(|_| Seqlock::exists(kernel)) {
            *sequence = Seqlock::at(kernel, lock)?.sequence()?;
        }
    }
    Ok(sequences)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `values`, the last one for good, while the locks are as `at`
    /// says of each look at them; and how often.
    fn read(values: &[u32], at: impl Fn(u32) -> Sequences) -> (Result<u32, KernelError>, usize) {
        let (mut looks, mut reads) = (0, 0);
        let sequences = || {
            looks += 1;
            Ok(at(looks - 1))
        };
        let found = read_between(sequences, || {
            reads += 1;
            Ok(values[values.len().min(reads) - 1])
        });
        (found, reads)
    }

    #[test]
    fn what_moved_meanwhile_is_read_again() {
        assert!(matches!(read(&[1, 2], |_| [8, 8]), (Ok(1), 1)));
        // It begins once neither lock is held; something moves in the first read.
        let at = [[7, 8], [8, 9], [8, 10], [8, 12]];
        let read = read(&[1, 2, 3], |look| *at.get(look as usize).unwrap_or(&[8, 12]));
        assert!(matches!(read, (Ok(2), 2)));
    }

    #[test]
    fn where_others_move_all_the_time_it_is_what_was_read_twice() {
        assert!(matches!(read(&[1, 2, 2, 3], |look| [2 * look, 0]), (Ok(2), 3)));
        let values: Vec<u32> = (0..ATTEMPTS).collect();
        let read = read(&values, |look| [2 * look, 0]);
        assert!(matches!(read, (Err(KernelError::Moving), reads) if reads == values.len()));
    }

    #[test]
    fn nothing_is_read_while_a_lock_is_held() {
        assert!(matches!(read(&[1], |_| [0, 1]), (Err(KernelError::Moving), 0)));
        // A pause of the VM may catch who takes it.
        assert!(matches!(read(&[1], |look| [look.min(1), 0]), (Err(KernelError::Moving), 1)));
    }
}
