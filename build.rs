//! Compiles `proto/criu/*.proto` with a pure-Rust protobuf compiler, so that
//! no `protoc` need be installed.

use std::error::Error;
use std::path::PathBuf;

const PROTO_DIR: &str = "proto/criu";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO_DIR}");
    let mut files = std::fs::read_dir(PROTO_DIR)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()?;
    files.sort();
    let descriptors = protox::compile(files, [PROTO_DIR])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
