//! The images' way into the guest: one tar archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::time::{Duration, SystemTime};

use super::error::RestoreError;
use super::images::{ImageFile, ImageSet};
use super::session::{Sender, Session};

/// The unit of a tar archive, which ends with two empty ones.
const BLOCK: u64 = 512;

/// The unit in which the guest reads the archive.
const RECORD: u64 = 64 << 10;

/// How long the receiver may take for what is still under way at the end.
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes handed to the port at once.
const CHUNK: usize = 256 << 10;

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
        write_archive(images, size, BufWriter::with_capacity(CHUNK, counted))
    })?;
    let answer = session.answer(LIMIT)?;
    let domain = session.domain().name().to_owned();
    compare(&images.images, &answer).map_err(|reason| RestoreError::Transfer { domain, reason })
}

/// The length of the archive in bytes: a number of records.
pub(super) fn archive_size(images: &[ImageFile]) -> u64 {
    let blocks = |image: &ImageFile| 1 + image.size.div_ceil(BLOCK);
    let blocks = 2 + images.iter().map(blocks).sum::<u64>();
    (BLOCK * blocks).next_multiple_of(RECORD)
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
        let file = File::open(images.path(&image.name))?;
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
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.file).take(self.left).read(buf)?;
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
        let images =
            files.iter().map(|(name, size)| ImageFile { name: (*name).into(), size: *size as u64 });
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
