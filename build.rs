//! Compiles `proto/criu/*.proto` with a pure-Rust protobuf compiler, so that
//! no `protoc` need be installed, and lists `kernel-profiles/*.json` for being
//! built in.

use std::error::Error;
use std::path::{Path, PathBuf};

const PROTO_DIR: &str = "proto/criu";
const PROFILES_DIR: &str = "kernel-profiles";

fn main() -> Result<(), Box<dyn Error>> {
    compile_protos()?;
    list_profiles()
}

fn compile_protos() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO_DIR}");
    let mut files = std::fs::read_dir(PROTO_DIR)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()?;
    files.sort();
    let descriptors = protox::compile(files, [PROTO_DIR])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}

/// Writes `BUILT_IN`: each file's name, without its ending, and text.
fn list_profiles() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROFILES_DIR}");
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let mut names = std::fs::read_dir(root.join(PROFILES_DIR))?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<String>, _>>()?;
    names.sort();
    let mut list = String::from("static BUILT_IN: &[(&str, &str)] = &[\n");
    for name in names {
        if let Some(stem) = name.strip_suffix(".json") {
            let path = root.join(PROFILES_DIR).join(&name);
            list += &format!("    ({stem:?}, include_str!({path:?})),\n");
        }
    }
    list += "];\n";
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("kernel_profiles.rs"), list)?;
    Ok(())
}
