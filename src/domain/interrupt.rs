//! Interrupts for vCPUs, which QEMU has no command for: they are messages that are
//! written to local APICs.

use super::Domain;
use super::error::Result;
use super::gdb::{Stub, refused};
use super::pause::Pause;

/// An interrupt for one vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// The local APIC's ID, up to 255: an MSI has 8 bits for it.
    pub apic_id: u32,
    /// The IDT vector, from 16 on.
    pub vector: u8,
}

impl Interrupt {
    /// The MSI that raises it: address and data for physical destination mode,
    /// fixed delivery, edge (Intel SDM 3A, 11.11).
    fn message(self) -> Result<(u64, u32)> {
        let apic_id = u8::try_from(self.apic_id)
            .map_err(|_| refused(&format!("APIC ID {} does not fit an MSI", self.apic_id)))?;
        Ok((0xfee0_0000 | u64::from(apic_id) << 12, u32::from(self.vector)))
    }
}

impl Domain {
    /// Pauses the VM in order to [`raise`](Pause::raise) interrupts: what can
    /// be prepared for that is done before the VM stops.
    ///
    /// # Errors
    ///
    /// Those of [`pause`](Self::pause) and of [`raise`](Pause::raise), in
    /// which case the VM has not been paused.
    pub fn pause_to_interrupt(&self) -> Result<Pause<'_>> {
        self.pause_with(|qmp| Stub::prepare(qmp).map(Some))
    }
}

impl Pause<'_> {
    /// Raises interrupts. They are delivered when the VM continues.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::DomainError::Refused) where a debugger is attached to the VM or its
    /// accelerator has no gdb stub; [`Protocol`](super::DomainError::Protocol) where the stub
    /// answers otherwise than expected. Some may have been raised then.
    pub fn raise(&mut self, interrupts: &[Interrupt]) -> Result<()> {
        let messages: Vec<_> = interrupts.iter().map(|i| i.message()).collect::<Result<_>>()?;
        if messages.is_empty() {
            return Ok(());
        }
        let domain = self.domain();
        let qmp = &mut domain.qmp();
        let stub = match &mut self.stub {
            Some(stub) => stub,
            None => self.stub.insert(Stub::prepare(qmp)?),
        };
        if !stub.open {
            domain.pause.stub_opens()?;
            stub.open(qmp)?;
        }
        stub.write_words(&messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_is_an_msi_to_its_local_apic() {
        let message = |apic_id, vector| Interrupt { apic_id, vector }.message();
        assert_eq!(message(0, 0xfb).unwrap(), (0xfee0_0000, 0xfb));
        assert_eq!(message(255, 0xfd).unwrap(), (0xfeef_f000, 0xfd));
        assert!(message(256, 0xfd).is_err());
    }
}
