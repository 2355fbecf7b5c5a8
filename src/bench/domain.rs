//! What only QEMU's monitor tells.

use super::error::{BenchError, Result};
use crate::domain::{Domain, DomainError};

/// The host's threads that run the virtual CPUs of a VM.
pub(super) fn vcpu_threads(vm: &str) -> Result<Vec<i32>> {
    let vcpus = Domain::find(vm).and_then(|domain| domain.vcpus()).map_err(failed(vm))?;
    Ok(vcpus.iter().map(|vcpu| vcpu.thread_id).collect())
}

/// Stops a VM and continues it at once. Seconds that it stood still.
pub(super) fn stop_and_cont(vm: &str) -> Result<f64> {
    let pause = || -> crate::domain::Result<f64> {
        let domain = Domain::find(vm)?;
        domain.claim()?;
        domain.take_pauses();
        domain.pause()?.resume()?;
        Ok(domain.take_pauses().total.as_secs_f64())
    };
    pause().map_err(failed(vm))
}

fn failed(vm: &str) -> impl Fn(DomainError) -> BenchError {
    move |error| BenchError::command(vm, error.to_string())
}
