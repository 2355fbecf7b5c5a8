//! Image sets as flat lists of fields with their names, unknown ones included,
//! and as pages by address.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost_reflect::{DescriptorPool, DynamicMessage, Value};

const PAGE: usize = 4096;
/// The first word of images but the inventory (`IMG_COMMON_MAGIC`,
/// `criu/include/magic.h`); a
/// word for the kind follows.
const COMMON_MAGIC: u32 = 0x5456_4319;

/// A directory of images.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Values by path, like `core-1.img[0].thread_core.creds.uid`.
    pub fields: BTreeMap<String, String>,
    /// Pages by address; of several processes, those of any.
    pub pages: BTreeMap<u64, Vec<u8>>,
    /// Pages by the PID in the pagemap's name, and by address.
    pub pages_of: BTreeMap<u32, BTreeMap<u64, Vec<u8>>>,
    /// Pages of shared memory by its number, and by offset.
    pub shared_pages: BTreeMap<u32, BTreeMap<u64, Vec<u8>>>,
}

impl Decoded {
    pub fn read(folder: &Path) -> Self {
        let pool = descriptors();
        let mut decoded = Self::default();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(stem) = name.strip_suffix(".img") else { continue };
            // Of these two each has a message of its own.
            let kind = match stem {
                "tty-info" => "tty_info",
                "tty-data" => "tty_data",
                _ => stem.split('-').next().unwrap_or(stem),
            };
            if kind == "pages" {
                continue;
            }
            let (messages, payloads) = messages(&pool, kind, &fs::read(&path).unwrap());
            for (index, payload) in payloads {
                decoded.fields.insert(format!("{name}[{index}].payload"), hex(&payload));
            }
            if kind == "pagemap" {
                let pages = read_pages(folder, &messages);
                let of = name.strip_suffix(".img").and_then(|name| name.strip_prefix("pagemap-"));
                let of = of.expect("a pagemap is of something");
                if let Some(memory) = of.strip_prefix("shmem-") {
                    decoded.shared_pages.insert(memory.parse().expect("a number"), pages);
                } else {
                    decoded.pages.extend(pages.clone());
                    decoded.pages_of.insert(of.parse().expect("a PID"), pages);
                }
                continue;
            }
            for (index, message) in messages.iter().enumerate() {
                flatten(&format!("{name}[{index}]"), message, &mut decoded.fields);
            }
        }
        decoded
    }
}

/// Fields of pagemaps are not compared, but the pages that they list: runs may
/// be split anywhere.
fn read_pages(folder: &Path, pagemap: &[DynamicMessage]) -> BTreeMap<u64, Vec<u8>> {
    let number = |message: &DynamicMessage, name: &str| {
        let value = message.get_field_by_name(name).expect("a field of ours");
        value.as_u64().or(value.as_u32().map(u64::from)).expect("a number")
    };
    let [head, entries @ ..] = pagemap else { panic!("a pagemap without a head") };
    let name = format!("pages-{}.img", number(head, "pages_id"));
    // CRIU writes none where there are no pages.
    let bytes = match fs::read(folder.join(name)) {
        Err(_) if entries.is_empty() => Vec::new(),
        bytes => bytes.unwrap(),
    };
    let mut pages = bytes.chunks_exact(PAGE);
    let mut listed = BTreeMap::new();
    for entry in entries {
        let count = match number(entry, "nr_pages") {
            0 => number(entry, "compat_nr_pages"),
            count => count,
        };
        for index in 0..count {
            let page = pages.next().expect("a page for each that is listed").to_vec();
            listed.insert(number(entry, "vaddr") + index * PAGE as u64, page);
        }
    }
    assert_eq!(pages.len(), 0, "pages that are not listed");
    listed
}

fn descriptors() -> DescriptorPool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/criu");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let set = protox::compile(files, [folder]).expect("the build compiles them, too");
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

/// The type of record `index` of an image.
fn message_name(kind: &str, index: usize) -> String {
    match (kind, index) {
        ("pagemap", 0) => "criu.pagemap_head".into(),
        ("files", _) => "criu.file_entry".into(),
        ("ids", _) => "criu.task_kobj_ids_entry".into(),
        ("remap", _) => "criu.remap_file_path_entry".into(),
        ("ghost", 0) => "criu.ghost_file_entry".into(),
        ("ghost", _) => "criu.ghost_chunk_entry".into(),
        ("memfd", _) => "criu.memfd_inode_entry".into(),
        ("filelocks", _) => "criu.file_lock_entry".into(),
        ("sk", _) => "criu.sk_packet_entry".into(),
        ("pipes" | "fifo", _) => "criu.pipe_data_entry".into(),
        _ => format!("criu.{kind}_entry"),
    }
}

/// The records of an image, and what follows some of them, by their index.
fn messages(
    pool: &DescriptorPool,
    kind: &str,
    bytes: &[u8],
) -> (Vec<DynamicMessage>, BTreeMap<usize, Vec<u8>>) {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = if word(0) == COMMON_MAGIC { 8 } else { 4 };
    let mut messages = Vec::new();
    let mut payloads = BTreeMap::new();
    while at < bytes.len() {
        let length = word(at) as usize;
        let name = message_name(kind, messages.len());
        let descriptor = pool.get_message_by_name(&name).unwrap_or_else(|| panic!("no {name}"));
        let record = &bytes[at + 4..at + 4 + length];
        let message = DynamicMessage::decode(descriptor, record).expect("a record");
        at += 4 + length;
        let number = |name: &str| {
            let value = message.get_field_by_name(name)?;
            value.as_u64().or(value.as_u32().map(u64::from)).or(value.as_bool().map(u64::from))
        };
        let length = match name.as_str() {
            "criu.pipe_data_entry" => number("bytes"),
            "criu.sk_packet_entry" => number("length"),
            "criu.ghost_chunk_entry" => number("len"),
            // What is not in chunks follows as it is.
            "criu.ghost_file_entry" if number("chunks") != Some(1) => {
                Some((bytes.len() - at) as u64)
            }
            _ => None,
        };
        if let Some(length) = length {
            let end = at + length as usize;
            payloads.insert(messages.len(), bytes[at..end].to_vec());
            at = end;
        }
        messages.push(message);
    }
    (messages, payloads)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn flatten(path: &str, message: &DynamicMessage, fields: &mut BTreeMap<String, String>) {
    for (field, value) in message.fields() {
        flatten_value(&format!("{path}.{}", field.name()), value, fields);
    }
    for field in message.unknown_fields() {
        fields.insert(format!("{path}.{}", field.number()), "unknown".into());
    }
}

fn flatten_value(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    match value {
        Value::Message(message) => flatten(path, message, fields),
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                flatten_value(&format!("{path}[{index}]"), value, fields);
            }
        }
        Value::Bytes(bytes) => {
            fields.insert(path.into(), hex(bytes));
        }
        value => {
            fields.insert(path.into(), format!("{value:?}"));
        }
    }
}
