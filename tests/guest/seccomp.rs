//! What seccomp lets a thread do is as it was.

use crate::harness::{guests, kept, refused};

#[test]
fn what_threads_may_do_is_as_it_was() {
    let guests = guests();
    let job = guests.start("seccomp", &[], "ready");
    let said = job.migrate(&guests, &[]).ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&["seccomp filters, of each thread and shared by all (TSYNC)", "seccomp in strict mode"]);
}

#[test]
fn a_filter_that_somebody_listens_to_is_refused() {
    let guests = guests();
    let program = "import ctypes, struct; c = ctypes.CDLL(None); \
                   code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000)); \
                   prog = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(code))); \
                   c.syscall(317, 1, 8, prog); print('ready', flush=True); c.pause()";
    let job = guests.source.spawn(&["python3", "-c", program]).once_it_prints("ready");
    let message = guests.save(job.pid, &[]).error();
    let words = "is restricted by a seccomp filter with a listener";
    assert!(message.contains(words), "{message}");
    assert!(job.is_alive());
    refused("a seccomp filter with a listener", words);
}
