//! Whether a VM is one whose memory can be read and understood from outside,
//! as far as QEMU itself knows: an x86-64 machine whose memory is not encrypted.

use serde_json::{Value, json};

use super::error::{DomainError, Result};
use super::qmp::Qmp;

/// `SEV_POLICY_ES` of a guest's policy (`target/i386/sev.h` in QEMU).
const SEV_POLICY_ES: u64 = 0x4;

/// Fails where the VM's memory cannot be read with sense. A QEMU that lacks one
/// of the commands does not know what they ask for. Returns whether the VM runs,
/// which costs no trip of its own here.
pub(super) fn require_readable(qmp: &mut Qmp, domain: &str) -> Result<bool> {
    let guard = json!({ "path": "/machine", "property": "confidential-guest-support" });
    let commands = [("query-status", json!({})), ("query-target", json!({})), ("qom-get", guard)];
    let mut answers = qmp.execute_all(&commands)?.into_iter();
    let [status, target, guard] = [(); 3].map(|()| answers.next().and_then(Result::ok));
    let runs = status.is_some_and(|status| status["running"] == true);
    let arch = target.as_ref().and_then(|target| target["arch"].as_str());
    if let Some(arch) = arch.filter(|&arch| arch != "x86_64") {
        let (domain, arch) = (domain.to_owned(), arch.to_owned());
        return Err(DomainError::NotX86 { domain, arch });
    }
    let kind = match guard.as_ref().and_then(Value::as_str) {
        Some("") => return Ok(runs),
        Some(path) => Some(kind_of_object(qmp, path)?),
        // Before QEMU 6.0 only `query-sev` tells, since 2.12.
        None => None,
    };
    let sev = qmp.execute_all(&[("query-sev", json!({}))])?.pop();
    let sev = sev.and_then(Result::ok).unwrap_or_default();
    match technology(kind.as_deref(), &sev) {
        Some(how) => Err(DomainError::Encrypted { domain: domain.to_owned(), how }),
        None => Ok(runs),
    }
}

/// The QOM type of an object, or its path where QEMU does not tell.
fn kind_of_object(qmp: &mut Qmp, path: &str) -> Result<String> {
    let ask = json!({ "path": path, "property": "type" });
    let mut answers = qmp.execute_all(&[("qom-get", ask)])?;
    let kind = answers.pop().and_then(Result::ok);
    Ok(kind.as_ref().and_then(Value::as_str).unwrap_or(path).to_owned())
}

/// What encrypts the memory, by the type of the machine's guard object and the
/// answer to `query-sev`.
fn technology(kind: Option<&str>, sev: &Value) -> Option<String> {
    let sev_enabled = sev["enabled"] == true;
    let name = match kind {
        Some("sev-snp-guest") => "AMD SEV-SNP",
        Some("tdx-guest") => "Intel TDX",
        None | Some("sev-guest") if sev_enabled || kind.is_some() => {
            let policy = sev["policy"].as_u64().unwrap_or(0);
            match sev["sev-type"].as_str() {
                Some("sev-snp") => "AMD SEV-SNP",
                _ if policy & SEV_POLICY_ES != 0 => "AMD SEV-ES",
                _ => "AMD SEV",
            }
        }
        None => return None,
        Some(other) => other,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    /// A QEMU that answers each command by `answer`, or refuses it.
    fn qemu(answer: impl Fn(&str, &Value) -> Option<Value> + Send + 'static) -> Qmp {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let commands = BufReader::new(theirs.try_clone().unwrap()).lines();
            writeln!(theirs, r#"{{"QMP":{{"version":{{}},"capabilities":[]}}}}"#).unwrap();
            for command in commands.map_while(std::io::Result::ok) {
                let command: Value = serde_json::from_str(&command).unwrap();
                let name = command["execute"].as_str().unwrap();
                let line = match answer(name, &command["arguments"]) {
                    Some(value) => json!({ "return": value }),
                    None if name == "qmp_capabilities" => json!({ "return": {} }),
                    None => json!({ "error": { "class": "GenericError", "desc": "no" } }),
                };
                writeln!(theirs, "{line}").unwrap();
            }
        });
        Qmp::of_stream(ours)
    }

    /// A QEMU for `arch` with a guard object of a type and an answer to
    /// `query-sev`, in the form of `qapi/misc-target.json`.
    fn verdict(arch: &'static str, kind: Option<&'static str>, sev: Option<Value>) -> String {
        let mut qmp = qemu(move |command, arguments| match command {
            "query-target" => Some(json!({ "arch": arch })),
            "query-sev" => sev.clone(),
            "qom-get" if arguments["path"] == "/machine" => {
                let knows = kind.is_some() || sev.is_none();
                knows.then(|| kind.map_or("", |_| "/objects/guard0").into())
            }
            "qom-get" if arguments["path"] == "/objects/guard0" => kind.map(Value::from),
            _ => None,
        });
        require_readable(&mut qmp, "vm1").map_or_else(|e| e.to_string(), |_| "fine".to_owned())
    }

    fn sev(policy: u64) -> Option<Value> {
        Some(json!({ "enabled": true, "api-major": 1, "api-minor": 55, "build-id": 24,
            "policy": policy, "state": "running", "handle": 1 }))
    }

    #[test]
    fn plain_machines_pass_also_of_a_qemu_that_knows_nothing_of_it() {
        assert_eq!(verdict("x86_64", None, None), "fine");
        let off = json!({ "enabled": false, "api-major": 0, "api-minor": 0, "build-id": 0,
            "policy": 0, "state": "uninit", "handle": 0 });
        assert_eq!(verdict("x86_64", None, Some(off)), "fine");
        assert!(require_readable(&mut qemu(|_, _| None), "vm1").is_ok());
    }

    #[test]
    fn encrypted_memory_is_named() {
        let snp = json!({ "enabled": true, "api-major": 1, "api-minor": 55, "build-id": 24,
            "sev-type": "sev-snp", "snp-policy": 196_608, "state": "running" });
        for (kind, sev, how) in [
            (Some("sev-guest"), sev(0x1), "AMD SEV;"),
            (Some("sev-guest"), sev(0x5), "AMD SEV-ES;"),
            // A machine of before 6.0, by memory-encryption=.
            (None, sev(0x1), "AMD SEV;"),
            (Some("sev-snp-guest"), Some(snp), "AMD SEV-SNP;"),
            (Some("tdx-guest"), None, "Intel TDX;"),
            (Some("next-guest"), None, "next-guest;"),
        ] {
            let message = verdict("x86_64", kind, sev);
            assert!(message.contains("vm1") && message.contains(how), "{how}: {message}");
            assert_eq!(message.lines().count(), 1);
        }
    }

    #[test]
    fn other_architectures_are_named() {
        for arch in ["aarch64", "i386", "riscv64"] {
            let message = verdict(arch, None, None);
            assert!(message.contains(arch) && message.contains("vm1"), "{message}");
        }
    }
}
