//! Files of `/proc`.

/// The process that a file of `/proc` belongs to, if it belongs to one, or why
/// it cannot be opened again.
pub(super) fn process_of(path: &[u8]) -> Result<Option<u32>, &'static str> {
    let Some(rest) = path.strip_prefix(b"/proc") else {
        return Err("is a file of a proc file system elsewhere than at /proc");
    };
    let mut names = rest.split(|byte| *byte == b'/').skip(1);
    let Some(process) = names.next().and_then(number) else { return Ok(None) };
    if names.next() == Some(b"task") && names.next().and_then(number).is_some_and(|t| t != process)
    {
        // CRIU makes threads when all files are open.
        return Err("is a file of a thread that is not its process's first");
    }
    Ok(Some(process))
}

fn number(name: &[u8]) -> Option<u32> {
    str::from_utf8(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_proc_tells_whose_it_is() {
        assert_eq!(process_of(b"/proc/12/maps"), Ok(Some(12)));
        assert_eq!(process_of(b"/proc/12"), Ok(Some(12)));
        assert_eq!(process_of(b"/proc/12/task/12/stat"), Ok(Some(12)));
        assert!(process_of(b"/proc/12/task/13/stat").is_err());
        assert_eq!(process_of(b"/proc/meminfo"), Ok(None));
        assert_eq!(process_of(b"/proc"), Ok(None));
        assert!(process_of(b"/mnt/12/maps").is_err());
    }
}
