"""Guest images and virtual machines for trying and testing ovmigrate.

    recipe    what a guest image is made of, and its hash
    image     builds a guest image and keeps it in the cache folder
    machine   one VM: its record on disk, and whether its QEMU lives
    qemu      the QEMU command line, starting and stopping it
    accel     whether KVM can really run a guest kernel here
    agent     client of the guest agent, runs programs in the guest
    files     copies files between host and guest
    console   the serial console on this terminal
    commands  the subcommands of `vm`
"""
