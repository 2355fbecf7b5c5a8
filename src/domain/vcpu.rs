//! The VM's virtual CPUs.

use serde_json::{Value, json};

use super::error::{DomainError, Result};
use super::qmp::Qmp;

/// A virtual CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vcpu {
    /// QEMU's number of it, which need not be the guest kernel's.
    pub index: u32,
    /// Its local APIC's ID, by which the guest kernel knows it
    /// (`x86_cpu_to_apicid`).
    pub apic_id: u32,
    /// The host thread that runs it; with single-threaded TCG, all of them.
    pub thread_id: i32,
}

/// Lists the vCPUs in order of index.
pub(super) fn vcpus(qmp: &mut Qmp) -> Result<Vec<Vcpu>> {
    let answer = qmp.execute("query-cpus-fast", json!({}))?;
    let cpus = answer.as_array().map_or(&[][..], Vec::as_slice);
    // The APIC ID follows from the topology by a rule that differs between CPU
    // models; the vCPU object knows it.
    let ask = |cpu: &Value| json!({ "path": cpu["qom-path"], "property": "apic-id" });
    let commands: Vec<_> = cpus.iter().map(|cpu| ("qom-get", ask(cpu))).collect();
    let apic_ids = qmp.execute_all(&commands)?;
    let vcpus = cpus.iter().zip(apic_ids).map(|(cpu, apic_id)| vcpu(cpu, &apic_id?));
    let mut vcpus = vcpus.collect::<Result<Vec<_>>>()?;
    vcpus.sort_by_key(|vcpu| vcpu.index);
    Ok(vcpus)
}

fn vcpu(cpu: &Value, apic_id: &Value) -> Result<Vcpu> {
    let small = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let thread_id = cpu["thread-id"].as_i64().and_then(|id| i32::try_from(id).ok());
    match (small(&cpu["cpu-index"]), small(apic_id), thread_id) {
        (Some(index), Some(apic_id), Some(thread_id)) => Ok(Vcpu { index, apic_id, thread_id }),
        _ => Err(misunderstood(cpu)),
    }
}

fn misunderstood(answer: &Value) -> DomainError {
    DomainError::protocol("query-cpus-fast", answer.to_string())
}
