//! Which way to the guests' memory a run takes.

use ovmigrate::attach::AccessChoice;

/// Names the way: `auto`, `map` or `process`, as `--access` does.
const ENVIRONMENT: &str = "OVMIGRATE_TEST_ACCESS";

fn name() -> String {
    std::env::var(ENVIRONMENT).unwrap_or_else(|_| "auto".to_owned())
}

/// The way that this run takes.
pub fn chosen() -> AccessChoice {
    match name().as_str() {
        "auto" => AccessChoice::Auto,
        "map" => AccessChoice::Map,
        "process" => AccessChoice::Process,
        other => panic!("{ENVIRONMENT}: there is no way {other:?} to a guest's memory"),
    }
}

/// What a command line of `ovmigrate` needs to take it. A restore has no choice: it
/// reads the VM's memory for some controlling terminals alone.
pub fn arguments(command: &[String]) -> Vec<String> {
    let attaches = command.iter().any(|word| word == "--domain")
        && !command.iter().any(|word| word == "restore" || word == "--access");
    if attaches { vec!["--access".to_owned(), name()] } else { Vec::new() }
}
