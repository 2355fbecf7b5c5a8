//! The images' way into the guest: a disk that it mounts, or one tar archive.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use super::disk::Disk;
use super::error::RestoreError;
use super::images::{ImageFile, ImageSet};
use super::session::{Sender, Session};

/// The unit of a tar archive, which ends with two empty ones.
const BLOCK: u64 = 512;

/// The unit in which the guest reads the archive.
const RECORD: u64 = 64 << 10;

/// How long the receiver may take for what is still under way at the end.
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes handed to the port at once, and how many times as many are read
/// ahead.
const CHUNK: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 16;

/// Has the guest mount a disk with the images, in the new directory `dir`.
///
/// # Errors
///
/// The inner one is why the guest cannot: the images are to come another way.
pub(super) fn mount(
    session: &Session<'_>,
    images: &ImageSet,
    disk: &Disk<'_>,
    dir: &str,
) -> Result<Result<(), String>, RestoreError> {
    let question = format!("disk {dir} {} {}\n", disk.serial(), disk.blocks());
    let answer = session.ask(&question, LIMIT)?;
    if let Some(reason) = answer.iter().find_map(|line| line.strip_prefix("none")) {
        return Ok(Err(reason.trim().to_owned()));
    }
    compare(&images.images, &answer).map(Ok).map_err(|reason| {
        let domain = session.domain().name().to_owned();
        RestoreError::Transfer { domain, reason }
    })
}

/// Sends all images into the new directory `dir` of the guest. `progress` gets
/// the number of bytes sent of [`archive_size`].
pub(super) fn transfer(
    session: &Session<'_>,
    images: &ImageSet,
    dir: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<(), RestoreError> {
    session.send(|sender| {
        let mut counted = Counted { sender, sent: 0, progress };
        let size = archive_size(&images.images);
        writeln!(counted.sender, "receive {dir} {}", size / RECORD)?;
        send_archive(images, size, counted)
    })?;
    let answer = session.answer(LIMIT)?;
    let domain = session.domain().name().to_owned();
    compare(&images.images, &answer).map_err(|reason| RestoreError::Transfer { domain, reason })
}

/// The length of the archive in bytes: a number of records. Sizes of images are
/// known to be far below what 64 bits count.
pub(super) fn archive_size(images: &[ImageFile]) -> u64 {
    let blocks = |image: &ImageFile| 1 + image.size.div_ceil(BLOCK);
    let blocks = 2 + images.iter().map(blocks).sum::<u64>();
    (BLOCK * blocks).next_multiple_of(RECORD)
}

/// Sends the archive, of which a thread reads the next pieces meanwhile: a port
/// that is being written to takes as long as the guest does, a disk that is
/// being read as long as it likes.
fn send_archive(images: &ImageSet, size: u64, mut to: impl Write) -> io::Result<()> {
    let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
    thread::scope(|scope| {
        let reading = thread::Builder::new().spawn_scoped(scope, move || {
            write_archive(images, size, Chunks { chunk: Vec::new(), to: sender })
        })?;
        // At an error the receiving end goes, and with it the thread.
        let sent = chunks.into_iter().try_for_each(|chunk| to.write_all(&chunk));
        let panicked = || io::Error::other("reading the images failed");
        let read = reading.join().unwrap_or_else(|_| Err(panicked()));
        sent.and(read).and_then(|()| to.flush())
    })
}

/// Hands on what is written in large pieces.
struct Chunks {
    chunk: Vec<u8>,
    to: SyncSender<Vec<u8>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        self.chunk.reserve_exact(CHUNK - self.chunk.len());
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let gone = |_| io::ErrorKind::BrokenPipe.into();
        if chunk.is_empty() { Ok(()) } else { self.to.send(chunk).map_err(gone) }
    }
}

fn write_archive(images: &ImageSet, size: u64, to: impl Write) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut archive = tar::Builder::new(Filled { to, left: size });
    for image in &images.images {
        let mut header = tar::Header::new_gnu();
        header.set_path(&image.name)?;
        header.set_size(image.size);
        header.set_mode(0o600);
        header.set_mtime(now.as_secs());
        header.set_cksum();
        let file = images.open(image)?;
        archive.append(&header, Exactly { file, left: image.size })?;
    }
    let Filled { mut to, left } = archive.into_inner()?;
    io::copy(&mut io::repeat(0).take(left), &mut to)?;
    to.flush()
}

/// Knows what is left of a given length.
struct Filled<W> {
    to: W,
    left: u64,
}

impl<W: Write> Write for Filled<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Counts what it sends.
struct Counted<'a> {
    sender: Sender<'a>,
    sent: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sender.write(bytes)?;
        self.sent += count as u64;
        (self.progress)(self.sent);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sender.flush()
    }
}

/// The first bytes of a file. One that has become shorter is an error: the
/// header has announced its length.
struct Exactly<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.by_ref().take(self.left).read(buf)?;
        if count == 0 && self.left > 0 && !buf.is_empty() {
            return Err(io::Error::other("an image has become shorter while it was sent"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Compares what the guest has with what was sent.
fn compare(images: &[ImageFile], answer: &[String]) -> Result<(), String> {
    let listed = answer.iter().filter_map(|line| line.strip_prefix("image ")?.split_once(' '));
    let arrived: BTreeMap<&str, &str> = listed.map(|(size, name)| (name, size)).collect();
    for image in images {
        match arrived.get(image.name.as_str()) {
            Some(size) if **size == image.size.to_string() => {}
            Some(size) => return Err(format!("{} has {size} bytes there", image.name)),
            None => return Err(format!("{} is not there", image.name)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(files: &[(&str, usize)]) -> (ImageSet, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in files {
            std::fs::write(dir.path().join(name), vec![b'x'; *size]).unwrap();
        }
        let images = files.iter().map(|(name, size)| ImageFile {
            name: (*name).into(),
            size: *size as u64,
            compression: None,
        });
        (ImageSet { images: images.collect(), ..ImageSet::empty(dir.path()) }, dir)
    }

    #[test]
    fn an_archive_is_as_long_as_announced_and_holds_the_images() {
        let sizes = [("a.img", 0), ("b.img", 1), ("c.img", 512), ("d.img", 200_000)];
        let (set, _dir) = set(&sizes);
        let size = archive_size(&set.images);
        assert_eq!(size % RECORD, 0);
        let mut archive = Vec::new();
        write_archive(&set, size, &mut archive).unwrap();
        assert_eq!(archive.len() as u64, size);
        let mut unpacked = Vec::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            unpacked.push((entry.path().unwrap().display().to_string(), entry.size() as usize));
        }
        assert_eq!(unpacked, sizes.map(|(name, size)| (name.to_owned(), size)));
    }

    #[test]
    fn what_is_read_ahead_arrives_in_order_and_failures_of_both_sides_are_told() {
        let large = CHUNK * (CHUNKS_AHEAD + 2) + 5;
        let (mut set, _dir) = set(&[("a.img", 7), ("b.img", large)]);
        let size = archive_size(&set.images);
        let (mut plain, mut ahead) = (Vec::new(), Vec::new());
        write_archive(&set, size, &mut plain).unwrap();
        send_archive(&set, size, &mut ahead).unwrap();
        // But for the times in it.
        assert_eq!(plain.len(), ahead.len());
        assert_eq!(plain[2048..], ahead[2048..]);
        let mut full = vec![0; CHUNK];
        let error = send_archive(&set, size, full.as_mut_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        set.images[1].size += 1;
        let size = archive_size(&set.images);
        let error = send_archive(&set, size, io::sink()).unwrap_err();
        assert!(error.to_string().contains("shorter"), "{error}");
    }

    #[test]
    fn an_image_that_shrinks_on_the_way_is_an_error() {
        let (mut set, _dir) = set(&[("a.img", 1000)]);
        set.images[0].size = 1001;
        let size = archive_size(&set.images);
        let error = write_archive(&set, size, io::sink()).unwrap_err();
        assert!(error.to_string().contains("shorter"), "{error}");
    }

    #[test]
    fn what_arrived_is_compared() {
        let (set, _dir) = set(&[("a.img", 10), ("b.img", 20)]);
        let compare = |lines: &[&str]| {
            compare(&set.images, &lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(compare(&["image 10 a.img", "image 20 b.img", "end"]), Ok(()));
        assert_eq!(compare(&["image 10 a.img", "end"]).unwrap_err(), "b.img is not there");
        let short = compare(&["image 10 a.img", "image 19 b.img"]).unwrap_err();
        assert_eq!(short, "b.img has 19 bytes there");
    }
}
