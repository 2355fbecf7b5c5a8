//! The GNU build ID among ELF notes (`elf(5)`).
//!
//! ```text
//! 0       4       8       12        16
//! +-------+-------+-------+---------+----------------------+
//! | namesz| descsz| type  | "GNU\0" | build ID             |
//! +-------+-------+-------+---------+----------------------+
//! ```

const NT_GNU_BUILD_ID: u32 = 3;
/// Bytes of a build ID at most; SHA-1 has 20.
const BUILD_ID_MAX: usize = 64;
/// Names and descriptions are padded to this.
const ALIGN: usize = 4;

/// The first build ID among `notes`, in hexadecimal.
pub(super) fn find(mut notes: &[u8]) -> Option<String> {
    loop {
        let word = |at: usize| -> Option<u32> {
            notes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
        };
        let (name_len, len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let start = 12 + name_len.checked_next_multiple_of(ALIGN)?;
        let description = notes.get(start..start.checked_add(len)?)?;
        let is_gnu = notes.get(12..)?.starts_with(b"GNU\0") && name_len == 4;
        if is_gnu && kind == NT_GNU_BUILD_ID && (1..=BUILD_ID_MAX).contains(&len) {
            return Some(description.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(start + len.checked_next_multiple_of(ALIGN)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, description.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        for part in [name, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let notes = [
            note(b"Linux\0", 3, &[1, 2, 3]),
            note(b"GNU\0", 5, &[4]),
            note(b"GNU\0", NT_GNU_BUILD_ID, &[0xbb, 0x60, 0x0a]),
        ];
        assert_eq!(find(&notes.concat()), Some("bb600a".to_owned()));
        assert_eq!(find(&notes[..2].concat()), None);
    }

    #[test]
    fn notes_that_make_no_sense_hold_none() {
        let good = note(b"GNU\0", NT_GNU_BUILD_ID, &[1; 20]);
        for at in 0..8 {
            let mut spoilt = good.clone();
            spoilt[at] = 0xff;
            assert_eq!(find(&spoilt), None, "byte {at}");
        }
        assert_eq!(find(&good[..20]), None);
    }
}
