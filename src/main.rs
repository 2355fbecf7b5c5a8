//! The `ovmigrate` command.

fn main() {}
