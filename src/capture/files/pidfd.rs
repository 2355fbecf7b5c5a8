//! Descriptors of processes.

use crate::linux::{File, Pid};
use crate::snapshot::OpenFileKind;

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
use super::{Files, O_ACCMODE, O_CLOEXEC, O_NONBLOCK, OfProcess};

/// What makes a pidfd another one (`include/uapi/linux/pidfd.h`).
const PIDFD_THREAD: u32 = 0o200;
const PIDFD_AUTOKILL: u32 = 0o1000;

impl<'k> Files<'k> {
    /// A descriptor of a process.
    pub(super) fn pidfd(
        &mut self,
        file: &File<'k>,
        pid: &Pid<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let flags = file.flags()? & !(O_ACCMODE | O_CLOEXEC | O_NONBLOCK);
        if flags != 0 {
            obstacles.add(match flags {
                PIDFD_THREAD => format!("{holder} is a pidfd of a thread (PIDFD_THREAD)"),
                PIDFD_AUTOKILL => format!("{holder} is a pidfd that kills (PIDFD_AUTOKILL)"),
                other => format!("{holder} is a pidfd with the flags {other:#o}"),
            });
            return Ok(None);
        }
        let process = match pid.has_task()? {
            true => Some(pid.global()?.cast_unsigned()),
            // It was reaped.
            false => None,
        };
        self.of_processes.extend(process.map(|pid| OfProcess {
            subject: obstacles.subject(),
            holder: format!("{holder} is a pidfd"),
            pid,
            may_be_zombie: true,
        }));
        let ino = file.inode()?.map_or(Ok(0), |inode| inode.ino())?;
        Ok(Some(OpenFileKind::Pidfd { process, ino }))
    }
}
