//! Writes to device memory through QEMU's gdb stub.
//!
//! QMP has no command that writes guest-physical memory, and RAM mappings do
//! not reach devices; a gdb client in physical memory mode does
//! (`Qqemu.PhyMemMode`, QEMU 4.1 and later). The stub is opened for the
//! purpose on a socket that has no name another could connect to, and closed
//! afterwards.
//!
//! What QEMU's `gdbstub` does to the run state: a client that connects stops
//! the VM (`gdb_chr_event`), a detach packet (`D`) or continuing starts it.
//! So where the monitor is ours the VM is paused by opening the stub, which
//! costs no time of the pause. Under libvirt, which is to know of each pause,
//! that is done while it is paused already. The stub is closed under the client
//! (`gdbserver none`) instead of detaching from it.

use std::io::{self, BufReader, Read, Write};
use std::iter;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::command;
use super::error::{DomainError, Result};
use super::qmp::Qmp;
use super::socket::{time_left, timed_out};

/// The name of our socket among QEMU's character devices, and of its
/// descriptor on the way there.
const CHARDEV: &str = "ovmigrate";

/// QEMU's own name for a stub that was opened by `-gdb` or `gdbserver`.
const OPERATORS_CHARDEV: &str = "gdb";

/// The line of the human monitor that closes the stub.
const CLOSE: &str = "gdbserver none";

/// How long QEMU may take for all writes of one opening.
const LIMIT: Duration = Duration::from_secs(5);

/// Longest answer accepted, in bytes. Those that are expected have two or three.
const ANSWER_LIMIT: usize = 4096;

/// A socket whose other end is, or is about to be, QEMU's gdb stub.
#[derive(Debug)]
pub(super) struct Stub {
    stream: BufReader<UnixStream>,
    /// Whether the stub uses it yet.
    pub(super) open: bool,
    /// Whether the stub may not have read all that we sent.
    pub(super) behind: bool,
    deadline: Instant,
}

impl Stub {
    /// Gives QEMU its end of the socket. The VM is not touched.
    ///
    /// QEMU has one gdb stub: opening it would throw out a debugger, so that is
    /// refused. What a process of ours that was killed has left over is removed.
    pub(super) fn prepare(qmp: &mut Qmp) -> Result<Self> {
        let ask = ("query-chardev", json!({}));
        let (mut answers, mut added) = qmp.add_socket_after(&[ask], CHARDEV)?;
        let chardevs = answers.pop().transpose()?.unwrap_or_default();
        let chardevs = chardevs.as_array().map_or(&[][..], Vec::as_slice);
        let exists = |label| chardevs.iter().any(|chardev| chardev["label"] == label);
        if exists(OPERATORS_CHARDEV) {
            if added.is_ok() {
                remove_chardev(qmp)?;
            }
            let reason =
                "the VM's gdb stub is in use; close it with the monitor command gdbserver none";
            return Err(refused(reason));
        }
        if added.is_err() && exists(CHARDEV) {
            if remove_chardev(qmp).is_err() {
                // It is in use: by the stub.
                close_stub(qmp)?;
            }
            added = qmp.add_socket(CHARDEV);
        }
        let stream = BufReader::new(added?);
        Ok(Self { stream, open: false, behind: false, deadline: Instant::now() })
    }

    /// Makes QEMU's gdb stub use the socket. That stops the VM where it runs.
    pub(super) fn open(&mut self, qmp: &mut Qmp) -> Result<()> {
        let answer = qmp.human(&format!("gdbserver chardev:{CHARDEV}"))?;
        self.open = answer.starts_with("Waiting for gdb connection");
        if self.open { Ok(()) } else { Err(refused(answer.trim())) }
    }

    /// Takes the socket away from QEMU, which deletes its character device, too.
    /// Where it has read all that we sent, nothing depends on when that happens.
    pub(super) fn close(self, qmp: &mut Qmp) -> Result<()> {
        match self {
            Self { open: true, behind: false, .. } => qmp.post(command::human(CLOSE)),
            Self { open: true, .. } => close_stub(qmp),
            _ => remove_chardev(qmp),
        }
    }

    /// Writes 4-byte words to guest-physical addresses, all in one trip: the
    /// stub takes packets one after another, and a new one in place of the
    /// acknowledgement of its answer to the last. Once all are answered it has
    /// nothing left to read.
    pub(super) fn write_words(&mut self, words: &[(u64, u32)]) -> Result<()> {
        let writes = words.iter().map(|(address, word)| {
            let [a, b, c, d] = word.to_le_bytes();
            format!("M{address:x},4:{a:02x}{b:02x}{c:02x}{d:02x}")
        });
        // The mode outlives the connection: leave it as a debugger expects it.
        let (before, after) = ("Qqemu.PhyMemMode:1".into(), "Qqemu.PhyMemMode:0".into());
        let commands: Vec<String> = iter::once(before).chain(writes).chain([after]).collect();
        let packets: String = commands.iter().map(|command| packet(command)).collect();
        self.behind = true;
        self.deadline = Instant::now() + LIMIT;
        self.stream.get_mut().write_all(packets.as_bytes()).map_err(failed)?;
        commands.iter().try_for_each(|command| self.expect_ok(command))?;
        self.behind = false;
        Ok(())
    }

    /// Reads the answer to a command that is answered by `OK` or an error.
    fn expect_ok(&mut self, command: &str) -> Result<()> {
        loop {
            let answer = self.receive().map_err(failed)?;
            match answer.as_slice() {
                b"OK" => return Ok(()),
                // Stop replies (T, S) and console output (O) come on their own.
                [b'T' | b'S' | b'O', ..] => {}
                other => {
                    let answer = String::from_utf8_lossy(other);
                    let detail = format!("{command} was answered by {answer:?}");
                    return Err(DomainError::protocol("QEMU's gdb stub", detail));
                }
            }
        }
    }

    /// The payload of the next packet. It is not acknowledged: QEMU takes a
    /// byte that it does not wait for as a wish to stop the VM
    /// (`gdb_read_byte()`, `gdbstub/gdbstub.c`), and would do so for ever with
    /// one that it reads once we have continued the VM.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        // Before a packet there are acknowledgements (+) of our own ones.
        while self.receive_byte()? != b'$' {}
        let mut payload = Vec::new();
        loop {
            match self.receive_byte()? {
                b'#' => break,
                byte if payload.len() < ANSWER_LIMIT => payload.push(byte),
                _ => return Err(io::Error::other("an answer has no end")),
            }
        }
        let sum = [self.receive_byte()?, self.receive_byte()?];
        if sum != checksum(&payload).as_bytes() {
            return Err(io::Error::other("an answer has a wrong checksum"));
        }
        Ok(payload)
    }

    fn receive_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        if self.stream.buffer().is_empty() {
            self.stream.get_ref().set_read_timeout(Some(time_left(self.deadline)?))?;
        }
        self.stream.read_exact(&mut byte).map_err(timed_out)?;
        Ok(byte[0])
    }
}

fn close_stub(qmp: &mut Qmp) -> Result<()> {
    let answer = qmp.human(CLOSE)?;
    if answer.starts_with("Disabled gdbserver") { Ok(()) } else { Err(refused(answer.trim())) }
}

fn remove_chardev(qmp: &mut Qmp) -> Result<()> {
    qmp.execute("chardev-remove", json!({ "id": CHARDEV })).map(drop)
}

fn failed(error: io::Error) -> DomainError {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            DomainError::TimedOut { from: "QEMU's gdb stub".into(), limit: LIMIT }
        }
        _ => DomainError::io("QEMU's gdb stub", error),
    }
}

pub(super) fn refused(reason: &str) -> DomainError {
    DomainError::Refused { command: "gdbserver".into(), reason: reason.into() }
}

fn packet(payload: &str) -> String {
    format!("${payload}#{}", checksum(payload.as_bytes()))
}

/// The sum of all bytes modulo 256, as two hexadecimal digits.
fn checksum(payload: &[u8]) -> String {
    format!("{:02x}", payload.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open stub whose QEMU has sent `answers` already.
    fn stub(answers: &str) -> (Stub, UnixStream) {
        let (stream, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answers.as_bytes()).unwrap();
        let deadline = Instant::now() + Duration::from_millis(200);
        (Stub { stream: BufReader::new(stream), open: true, behind: false, deadline }, theirs)
    }

    #[test]
    fn words_go_out_little_endian_in_physical_mode() {
        let (mut stub, mut theirs) = stub("+$OK#9a+$OK#9a+$OK#9a");
        stub.write_words(&[(0xfee0_1000, 0xfd)]).unwrap();
        assert!(!stub.behind);
        drop(stub);
        let mut sent = String::new();
        theirs.read_to_string(&mut sent).unwrap();
        let packets = "$Qqemu.PhyMemMode:1#77$Mfee01000,4:fd000000#f2$Qqemu.PhyMemMode:0#76";
        assert_eq!(sent, packets, "what comes behind the last packet may stop the VM");
    }

    #[test]
    fn a_stub_that_does_not_answer_may_not_have_read() {
        let (mut stub, _theirs) = stub("+$OK#9a");
        stub.write_words(&[(0xfee0_1000, 0xfd)]).unwrap_err();
        assert!(stub.behind);
    }

    #[test]
    fn a_late_stop_reply_is_not_the_answer() {
        let stop = packet("T02thread:01;");
        assert!(stub(&format!("+{stop}+$OK#9a")).0.expect_ok("x").is_ok());
        let (mut stub, _theirs) = stub(&format!("+{stop}+{}", packet("E14")));
        let error = stub.expect_ok("M0,4:00000000").unwrap_err().to_string();
        assert!(error.contains("E14"), "{error}");
    }

    #[test]
    fn wrong_sums_endless_answers_and_silence_are_errors() {
        for (answers, expected) in [
            ("+$OK#00".to_owned(), "checksum"),
            (format!("+${}", "x".repeat(2 * ANSWER_LIMIT)), "no end"),
            (String::new(), "no answer"),
        ] {
            let (mut stub, _theirs) = stub(&answers);
            let error = stub.expect_ok("x").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
