//! What security modules confine threads to is as it was.

use crate::harness::{Guest, Guests, Job, guests, kept, refused};

/// A profile that lets its threads do all but open one file. CRIU, which nothing
/// confines, traces them.
const PROFILE: &str = "ovmigrate-test";
const FORBIDDEN: &str = "/etc/hostname";

/// Loads the profile.
fn load(guest: &Guest) {
    let rules = format!("file, capability, network, unix, signal, ptrace, deny {FORBIDDEN} rw,");
    let load = "apparmor_parser --replace --skip-cache";
    guest.sh(&format!("echo 'profile {PROFILE} {{ {rules} }}' | {load}"));
}

fn unload(guest: &Guest) {
    guest.sh(&format!("printf %s {PROFILE} >/sys/kernel/security/apparmor/.remove"));
}

/// A process of which the profile confines a thread.
pub fn start<'g>(guests: &'g Guests) -> Job<'g> {
    load(&guests.source);
    guests.destination.program("confined");
    guests.source.start_for_criu("confined", &[PROFILE, FORBIDDEN], "ready")
}

#[test]
fn threads_have_their_apparmor_profiles() {
    let guests = guests();
    let job = start(&guests);
    guests.save(job.pid, &[]).stdout();
    guests.copy(&[&job.log]);
    let message = guests.restore().error();
    assert!(message.contains(&format!("profile {PROFILE} is not loaded")), "{message}");
    load(&guests.destination);
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    let said = Job { guest: &guests.destination, ..job }.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&["AppArmor profiles, of each thread"]);
    unload(&guests.source);
    unload(&guests.destination);
}

#[test]
fn a_change_of_profile_to_come_is_refused() {
    let guests = guests();
    load(&guests.source);
    let program = format!(
        "import signal; open('/proc/self/attr/exec', 'w').write('exec {PROFILE}'); \
         print('ready', flush=True); signal.pause()"
    );
    let job = guests.source.spawn(&["python3", "-c", &program]).once_it_prints("ready");
    let message = guests.save(job.pid, &[]).error();
    let words = "has another AppArmor profile to change to";
    assert!(message.contains(words), "{message}");
    assert!(job.is_alive());
    refused("an AppArmor profile to change to", words);
    job.kill("KILL");
    job.wait_for_end();
    unload(&guests.source);
}
