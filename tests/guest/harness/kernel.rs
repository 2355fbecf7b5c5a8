//! The kernels that the tests run on.

/// Names the release line that a run is on.
const ENVIRONMENT: &str = "OVMIGRATE_TEST_KERNEL";

/// Has glibc register no restartable sequences.
pub const WITHOUT_RSEQ: &str = "GLIBC_TUNABLES=glibc.pthread.rseq=0";

/// An entry of `qemu-scripts/guest/kernels.toml`, with its VMs.
#[derive(Debug, PartialEq, Eq)]
pub struct TestKernel {
    /// The release line.
    pub release: &'static str,
    /// The VM that processes are saved in.
    pub source_vm: &'static str,
    /// The VM that processes are restored in.
    pub destination_vm: &'static str,
    /// The VM that libvirt runs.
    pub libvirt_vm: &'static str,
}

/// Oldest first.
pub static ALL: [TestKernel; 4] = [
    TestKernel::new("5.10", "test-5-10-a", "test-5-10-b", "test-5-10-l"),
    TestKernel::new("6.1", "test-6-1-a", "test-6-1-b", "test-6-1-l"),
    TestKernel::new("6.12", "test-6-12-a", "test-6-12-b", "test-6-12-l"),
    TestKernel::new("7.2", "test-7-2-a", "test-7-2-b", "test-7-2-l"),
];

impl TestKernel {
    const fn new(
        release: &'static str,
        source_vm: &'static str,
        destination_vm: &'static str,
        libvirt_vm: &'static str,
    ) -> Self {
        Self { release, source_vm, destination_vm, libvirt_vm }
    }

    /// The one that this run is on.
    pub fn chosen() -> &'static Self {
        let chosen = std::env::var(ENVIRONMENT).unwrap_or_else(|_| "6.1".to_owned());
        Self::named(&chosen)
    }

    /// The one of a release line.
    pub fn named(release: &str) -> &'static Self {
        let found = ALL.iter().find(|kernel| kernel.release == release);
        found.unwrap_or_else(|| panic!("{ENVIRONMENT}: there are no tests on kernel {release}"))
    }

    /// The command of a process that the guest's CRIU can dump. It refuses those
    /// with restartable sequences where the kernel does not tell of them
    /// (`PTRACE_GET_RSEQ_CONFIGURATION` came with 5.13).
    pub fn for_criu<'a>(&self, command: &[&'a str]) -> Vec<&'a str> {
        let without_rseq: &[&str] = match self.release {
            "5.10" => &["env", WITHOUT_RSEQ],
            _ => &[],
        };
        [without_rseq, command].concat()
    }
}
