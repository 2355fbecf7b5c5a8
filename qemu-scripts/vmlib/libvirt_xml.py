"""The XML that describes a VM to libvirt."""

from html import escape

from .image import Image
from .machine import FILES_PORT, Machine


def domain(machine: Machine, image: Image, append: str) -> str:
    """The domain of a VM, like the QEMU command line that others get."""
    mebibytes = machine.memory >> 20
    memory = "" if machine.memory_backend == "none" else \
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    # Those that the devices below take, and two for devices plugged in later.
    controllers = ["pcie-root"] + ["pcie-root-port"] * 5 if machine.machine.startswith("q35") else []
    ports = "".join(f"<controller type='pci' index='{index}' model='{model}'/>"
                    for index, model in enumerate(controllers))
    cpu = "<cpu mode='host-passthrough'/>" if machine.cpu == "host" else _cpu(machine.cpu)
    return f"""\
<domain type='{"kvm" if machine.accel == "kvm" else "qemu"}'>
  <name>{machine.name}</name>
  <memory unit='MiB'>{mebibytes}</memory>
  {memory}
  <vcpu>{machine.cpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{machine.machine}'>hvm</type>
    <kernel>{image.vmlinuz}</kernel>
    <initrd>{image.initrd}</initrd>
    <cmdline>{escape(append)}</cmdline>
  </os>
  <features><acpi/></features>
  {cpu}
  <on_reboot>destroy</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{escape(machine.overlay)}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    {ports}
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='{escape(machine.files)}'/>
      <target type='virtio' name='{FILES_PORT}'/>
    </channel>
    <serial type='unix'>
      <source mode='bind' path='{escape(machine.console)}'/>
      <log file='{escape(machine.serial_log)}' append='off'/>
    </serial>
  </devices>
</domain>
"""


def _cpu(model: str) -> str:
    """`<cpu>` of a QEMU model with features, as in max,la57=off."""
    name, *features = model.split(",")
    if name == "max":
        opening = "<cpu mode='maximum'>"
    else:
        opening = f"<cpu mode='custom' match='exact' check='none'><model>{name}</model>"
    for feature in features:
        key, _, value = feature.partition("=")
        policy = "disable" if value == "off" else "force"
        opening += f"<feature policy='{policy}' name='{key}'/>"
    return opening + "</cpu>"
