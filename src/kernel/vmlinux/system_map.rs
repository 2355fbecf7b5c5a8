//! `System.map`: a kernel's symbols as `nm` lists them, a line each:
//! `ffffffff81000000 T _text`.

use std::collections::BTreeMap;

use super::super::wanted::WantedSymbols;

/// The addresses of those of `names` that `text` lists. Lines that are no
/// symbols are passed over.
pub(super) fn symbols<'n>(
    text: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> BTreeMap<String, u64> {
    let mut wanted = WantedSymbols::new(names);
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (addr, kind, name) = (words.next(), words.next(), words.next());
        let addr = addr.and_then(|addr| u64::from_str_radix(addr, 16).ok());
        if let (Some(addr), Some(kind), Some(name)) = (addr, kind, name) {
            wanted.offer(name, addr, kind.starts_with(|kind: char| kind.is_ascii_uppercase()));
        }
    }
    wanted.found()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_symbols_are_taken_before_static_ones_of_the_same_name() {
        let text = "\
            0000000000000000 D __per_cpu_start\n\
            ffffffff81000000 T _text\n\
            ffffffff81200000 t zero_fops\n\
            ffffffff81300000 T zero_fops\n\
            ffffffff81400000 T zero_fops\n\
            The rest is in the debug package.\n";
        let found = symbols(text, ["_text", "zero_fops", "init_task", "__per_cpu_start"]);
        let expected = [
            ("__per_cpu_start", 0),
            ("_text", 0xffff_ffff_8100_0000),
            ("zero_fops", 0xffff_ffff_8130_0000),
        ];
        assert_eq!(found, expected.map(|(name, addr)| (name.to_owned(), addr)).into());
    }
}
