//! What only QEMU's monitor tells.

use super::error::{BenchError, Result};
use crate::domain::Domain;

/// The host's threads that run the virtual CPUs of a VM.
pub(super) fn vcpu_threads(vm: &str) -> Result<Vec<i32>> {
    let failed = |error: crate::domain::DomainError| BenchError::command(vm, error.to_string());
    let domain = Domain::find(vm).map_err(failed)?;
    let vcpus = domain.vcpus().map_err(failed)?;
    Ok(vcpus.iter().map(|vcpu| vcpu.thread_id).collect())
}
