//! Where a machine takes a PCI device while it runs.

use serde_json::Value;

/// Bridges that take a device on their secondary bus while the machine runs, by
/// vendor and device ID: QEMU's `pcie-root-port`, `ioh3420` and
/// `xio3130-downstream`.
const PORTS: [(u64, u64); 3] = [(0x1b36, 0x000c), (0x8086, 0x3420), (0x104c, 0x8233)];

/// The host bridge of the machine `pc`, whose root bus takes devices itself.
const I440FX: (u64, u64) = (0x8086, 0x1237);
const I440FX_BUS: &str = "pci.0";

/// Slots of a PCI bus.
const SLOTS: u64 = 32;

/// A free place, as `device_add` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub bus: String,
    /// The device number on the bus.
    pub addr: u64,
}

/// The free places of a machine, of which QEMU may still refuse some: a port
/// with `hotplug=off` looks like any other. `pci` is the answer to `query-pci`.
pub(super) fn free_slots(pci: &Value) -> Vec<Slot> {
    let mut slots = Vec::new();
    for bus in list(pci) {
        let devices = list(&bus["devices"]);
        if bus["bus"] == 0 && devices.iter().any(|device| id(device) == Some(I440FX)) {
            let taken: Vec<_> =
                devices.iter().filter_map(|device| device["slot"].as_u64()).collect();
            // From behind, as what is added by others goes in front.
            let free = (1..SLOTS).rev().filter(|slot| !taken.contains(slot));
            slots.extend(free.take(2).map(|addr| Slot { bus: I440FX_BUS.to_owned(), addr }));
        }
        ports(devices, &mut slots, SLOTS);
    }
    slots
}

/// Empty ports that have a name, also those behind other bridges.
fn ports(devices: &[Value], slots: &mut Vec<Slot>, depth: u64) {
    for device in devices {
        let Some(bridge) = device.get("pci_bridge") else { continue };
        let behind = list(&bridge["devices"]);
        let name = device["qdev_id"].as_str().filter(|name| !name.is_empty());
        let is_port = id(device).is_some_and(|id| PORTS.contains(&id));
        match name.filter(|_| is_port && behind.is_empty()) {
            Some(bus) => slots.push(Slot { bus: bus.to_owned(), addr: 0 }),
            None if depth > 0 => ports(behind, slots, depth - 1),
            None => {}
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Vendor and device ID.
fn id(device: &Value) -> Option<(u64, u64)> {
    let id = &device["id"];
    Some((id["vendor"].as_u64()?, id["device"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn device(vendor: u64, device: u64, slot: u64) -> Value {
        json!({ "slot": slot, "qdev_id": "", "id": { "vendor": vendor, "device": device } })
    }

    fn port(name: &str, behind: &[Value]) -> Value {
        let mut port = device(0x1b36, 0x000c, 4);
        port["qdev_id"] = name.into();
        // QEMU leaves the list out where it is empty.
        port["pci_bridge"] = json!({ "bus": { "number": 1 } });
        if !behind.is_empty() {
            port["pci_bridge"]["devices"] = behind.into();
        }
        port
    }

    fn slot(bus: &str, addr: u64) -> Slot {
        Slot { bus: bus.to_owned(), addr }
    }

    #[test]
    fn ports_that_are_empty_and_have_a_name_are_free() {
        let disk = device(0x1af4, 0x1042, 0);
        let nested = port("outer", &[port("inner", &[])]);
        let mut bridge = port("bridge", &[]);
        bridge["id"]["device"] = 1.into();
        let devices = [
            disk.clone(),
            port("taken", &[disk]),
            port("", &[]),
            port("free", &[]),
            bridge,
            nested,
        ];
        let pci = json!([{ "bus": 0, "devices": devices }]);
        assert_eq!(free_slots(&pci), [slot("free", 0), slot("inner", 0)]);
    }

    #[test]
    fn the_root_bus_of_pc_takes_devices_itself() {
        let devices = [device(0x8086, 0x1237, 0), device(0x1af4, 0x1000, 31)];
        let pci = json!([{ "bus": 0, "devices": devices }]);
        assert_eq!(free_slots(&pci), [slot("pci.0", 30), slot("pci.0", 29)]);
        let full: Vec<_> =
            (1..32).map(|slot| device(1, 1, slot)).chain([device(0x8086, 0x1237, 0)]).collect();
        assert_eq!(free_slots(&json!([{ "bus": 0, "devices": full }])), []);
    }

    #[test]
    fn a_machine_without_pci_has_none() {
        assert_eq!(free_slots(&json!([])), []);
        assert_eq!(free_slots(&json!({ "x": 1 })), []);
    }
}
