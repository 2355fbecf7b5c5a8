//! A way into the guest that every guest with an agent can take: a
//! `virtserialport` plugged beside the agent's own for as long as needed.
//!
//! QEMU gets one end of a socket, so that nothing stays on the host. It
//! reads from the socket only while a program in the guest has the port open
//! and the guest's queue has room, so writing blocks until then. Closing our
//! end before the guest has read everything loses the rest (`tcp_chr_hup` in
//! QEMU's `char-socket.c`): a reader in the guest has to say when it is done.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::domain::{Domain, DomainError};

/// What the IDs of our devices begin with; the PID of this process follows.
const ID: &str = "ovmigrate-port-";

/// How long a port may resist being removed.
const UNPLUG_LIMIT: Duration = Duration::from_secs(5);

/// A plugged port; unplugged when dropped.
#[derive(Debug)]
pub(super) struct Port<'a> {
    domain: &'a Domain,
    id: String,
    stream: UnixStream,
}

impl<'a> Port<'a> {
    /// Plugs a port.
    pub fn plug(domain: &'a Domain) -> Result<Self, DomainError> {
        remove_left_over(domain)?;
        let id = format!("{ID}{}", process::id());
        let mut device = json!({ "driver": "virtserialport", "id": id, "chardev": id, "name": id });
        if let Some(bus) = domain.process().agent_bus() {
            device["bus"] = bus.into();
        }
        let stream = domain.qmp().add_socket(&id)?;
        // From here on the port is unplugged whatever happens.
        let port = Self { domain, id, stream };
        domain.qmp().execute("device_add", device)?;
        Ok(port)
    }

    /// The port's name in the guest, in `/sys/class/virtio-ports/*/name`.
    pub fn name(&self) -> &str {
        &self.id
    }

    /// The host's end.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        if let Err(e) = unplug(self.domain, &self.id) {
            tracing::warn!("VM {}: {} is left plugged: {e}", self.domain.name(), self.id);
        }
    }
}

/// Removes the port and then its character device, which the port holds until
/// it is gone.
fn unplug(domain: &Domain, id: &str) -> Result<(), DomainError> {
    let arguments = json!({ "id": id });
    let deadline = Instant::now() + UNPLUG_LIMIT;
    loop {
        let commands = [("device_del", arguments.clone()), ("chardev-remove", arguments.clone())];
        // The device may be gone already; what counts is the last step.
        match domain.qmp().execute_all(&commands)?.pop() {
            Some(Err(e)) if Instant::now() >= deadline => return Err(e),
            Some(Err(_)) => thread::sleep(Duration::from_millis(20)),
            _ => return Ok(()),
        }
    }
}

/// Unplugs the ports of processes that were killed.
fn remove_left_over(domain: &Domain) -> Result<(), DomainError> {
    let answer = domain.qmp().execute("query-chardev", json!({}))?;
    let chardevs = answer.as_array().map_or(&[][..], Vec::as_slice);
    let ids = chardevs.iter().filter_map(|chardev| chardev["label"].as_str());
    for id in ids.filter(|id| id.starts_with(ID)) {
        let owner = Path::new("/proc").join(id.trim_start_matches(ID));
        if !fs::exists(owner).unwrap_or(true) {
            unplug(domain, id)?;
        }
    }
    Ok(())
}
