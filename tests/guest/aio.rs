//! Contexts of asynchronous I/O (`io_setup()`).

use crate::harness::{guests, kept, refused};

#[test]
fn contexts_go_on_with_the_events_that_were_not_taken() {
    let guests = guests();
    let job = guests.start("aio", &[], "ready");
    let said = job.migrate(&guests, &[]).ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&["AIO contexts (io_setup), with events that were not taken"]);
}

#[test]
fn requests_that_do_not_end_are_refused() {
    let guests = guests();
    let job = guests.start("aio", &["busy"], "ready");
    let message = guests.save(job.pid, &["--timeout", "5s"]).error();
    let words = "is at requests of its asynchronous I/O (io_submit)";
    assert!(message.contains(words), "{message}");
    assert!(job.is_alive());
    let said = job.ask();
    assert!(said.contains("done"), "it runs on: {said}");
    refused("AIO requests that do not end", words);
}
