//! The decoded images of a tree as those of each process, with names in place of
//! the numbers by which images refer to each other: two sets of the same tree
//! may count differently.

use std::collections::BTreeMap;

use crate::decoded::Decoded;

/// A number in an image, such as `U32(7)`.
fn number(value: &str) -> u32 {
    let digits = value.split_once('(').expect("a type and a number").1.trim_end_matches(')');
    digits.parse().expect("a number")
}

/// Fields of the records of an image, by the position of the record.
fn records(images: &Decoded, image: &str) -> Vec<BTreeMap<String, String>> {
    let mut records: Vec<BTreeMap<String, String>> = Vec::new();
    let start = format!("{image}.img[");
    for (path, value) in &images.fields {
        let Some(rest) = path.strip_prefix(&start) else { continue };
        let (index, field) = rest.split_once("].").expect("a record and a field");
        let index: usize = index.parse().expect("a position");
        records.resize_with(records.len().max(index + 1), BTreeMap::new);
        records[index].insert(field.to_owned(), value.clone());
    }
    records
}

/// The images of a tree.
struct Family<'a> {
    images: &'a Decoded,
    /// Records of `files.img` by ID, without any ID.
    files: BTreeMap<u32, BTreeMap<String, String>>,
    /// `files_id` by PID.
    tables: BTreeMap<u32, u32>,
}

/// The images of each process of a tree by its PID.
pub fn by_process(images: &Decoded) -> BTreeMap<u32, Decoded> {
    let is_id = |field: &str| field == "id" || field.ends_with(".id");
    let all = records(images, "files");
    let files = all.iter().cloned().map(|mut file| {
        let id = number(&file["id"]);
        file.retain(|field, _| !is_id(field));
        if let Some(kind) = file.get("usk.type") {
            let queue = queue(images, id, number(kind) == SOCK_STREAM);
            file.extend(queue);
        }
        if let Some(terminal) = file.remove("tty.tty_info_id") {
            file.extend(self::terminal(images, number(&terminal)));
        }
        if let Some(path) = file.remove("tty.regf_id") {
            let path = all.iter().find(|other| other["id"] == path).expect("a path");
            let fields = path.iter().filter(|(field, _)| !is_id(field));
            file.extend(fields.map(|(field, value)| (format!("tty.path.{field}"), value.clone())));
        }
        if let Some(inode) = file.remove("memfd.inode_id") {
            file.extend(memory(images, number(&inode)));
        }
        (id, file)
    });
    let processes = records(images, "pstree");
    let tables = processes.iter().filter_map(|process| {
        let pid = number(&process["pid"]);
        let ids = records(images, &format!("ids-{pid}"));
        Some((pid, number(&ids.first()?["files_id"])))
    });
    let family = Family { images, files: files.collect(), tables: tables.collect() };
    let own = processes.iter().map(|process| (number(&process["pid"]), family.process(process)));
    own.collect()
}

const SOCK_STREAM: u32 = 1;

/// What is in the queue of a socket. Bytes of a stream may be split anywhere;
/// CRIU has descriptors come with what was sent right before them, too.
fn queue(images: &Decoded, id: u32, is_stream: bool) -> BTreeMap<String, String> {
    let mut packets: Vec<(String, Vec<String>)> = Vec::new();
    for packet in records(images, "sk-queues") {
        if number(&packet["id_for"]) != id {
            continue;
        }
        let payload = packet.get("payload").expect("bytes, if only none").clone();
        let rights = packet.iter().filter(|(field, _)| field.contains(".rights["));
        let rights: Vec<_> = rights.map(|(_, id)| described(images, number(id))).collect();
        match packets.last_mut() {
            Some((bytes, before)) if is_stream && before.is_empty() => {
                bytes.push_str(&payload);
                *before = rights;
            }
            _ => packets.push((payload, rights)),
        }
    }
    let packets = packets.iter().enumerate();
    packets.map(|(at, packet)| (format!("usk.queue[{at}]"), format!("{packet:?}"))).collect()
}

/// A record of `files.img` without any ID.
fn described(images: &Decoded, id: u32) -> String {
    let file = records(images, "files").into_iter().find(|file| number(&file["id"]) == id);
    let mut file = file.expect("a record for each that is in flight");
    // As what is intended to differ of files that processes have open.
    let is_intended = |field: &str| field.ends_with(".so_mark") || field.contains(".build_id");
    file.retain(|field, _| !field.ends_with("id") && !is_intended(field));
    format!("{file:?}")
}

/// What is said of a terminal, and what waits to be read from it.
fn terminal(images: &Decoded, id: u32) -> BTreeMap<String, String> {
    let info = records(images, "tty-info").into_iter().find(|info| number(&info["id"]) == id);
    let data = records(images, "tty-data").into_iter().find(|data| number(&data["tty_id"]) == id);
    let info = info.expect("a record for each that is open").into_iter();
    let info = info.map(|(field, value)| (format!("tty.info.{field}"), value));
    let data = data.map(|data| ("tty.data".to_owned(), data["data"].clone()));
    // Of 19 words of characters CRIU leaves those behind the last as they were.
    let is_none = |field: &str| {
        let at = field.split_once(".c_cc[").and_then(|(_, at)| at.strip_suffix(']'));
        at.is_some_and(|at| at.parse::<u32>().is_ok_and(|at| at > 4))
    };
    info.chain(data).filter(|(field, _)| !is_none(field)).collect()
}

/// What is said of shared memory, and what its pages hold.
fn memory(images: &Decoded, inode: u32) -> BTreeMap<String, String> {
    let inodes = records(images, "memfd");
    let found = inodes.into_iter().find(|memory| number(&memory["inode_id"]) == inode);
    let mut memory = found.expect("an inode for each that is open or mapped");
    memory.remove("inode_id");
    let pages = images.shared_pages.get(&number(&memory.remove("shmid").expect("a number")));
    // A page of zeros may be left out.
    let pages = pages.into_iter().flatten().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    memory.extend(pages.map(|(at, page)| (format!("pages[{at:#x}]"), format!("{page:?}"))));
    memory.into_iter().map(|(field, value)| (format!("memfd.inode.{field}"), value)).collect()
}

impl Family<'_> {
    fn process(&self, pstree: &BTreeMap<String, String>) -> Decoded {
        let pid = number(&pstree["pid"]);
        let mut own = Decoded::default();
        let is_zombie = !self.tables.contains_key(&pid);
        for (field, value) in pstree {
            // CRIU writes any number for that of a zombie.
            if !is_zombie || !field.starts_with("threads") {
                own.fields.insert(format!("pstree.img[0].{field}"), value.clone());
            }
        }
        let threads = pstree.iter().filter(|(field, _)| field.starts_with("threads"));
        for tid in threads.map(|(_, tid)| number(tid)).chain([pid]) {
            self.copy(&mut own, &format!("core-{tid}"), |_, value| Some(value.to_owned()));
        }
        if is_zombie {
            return own;
        }
        own.pages = self.images.pages_of[&pid].clone();
        self.copy(&mut own, &format!("ids-{pid}"), |field, value| {
            let is_of_object = ["vm_id", "files_id", "fs_id", "sighand_id"].contains(&field);
            (!is_of_object).then(|| value.to_owned())
        });
        let parent = self.tables.get(&number(&pstree["ppid"]));
        let shared = parent == Some(&self.tables[&pid]);
        own.fields.insert("ids.img[0].files_of_parent".into(), shared.to_string());
        for image in ["mm", "fs"] {
            self.with_files(&mut own, image, &format!("{image}-{pid}"), None);
        }
        self.with_files(&mut own, "fdinfo", &format!("fdinfo-{}", self.tables[&pid]), Some("fd"));
        own
    }

    fn copy(&self, own: &mut Decoded, image: &str, change: impl Fn(&str, &str) -> Option<String>) {
        for (index, record) in records(self.images, image).iter().enumerate() {
            for (field, value) in record {
                if let Some(value) = change(field, value) {
                    own.fields.insert(format!("{image}.img[{index}].{field}"), value);
                }
            }
        }
    }

    /// Copies records with the files that they refer to; in the order of the
    /// field `by`, if there is one.
    fn with_files(&self, own: &mut Decoded, kind: &str, image: &str, by: Option<&str>) {
        for (index, record) in records(self.images, image).iter().enumerate() {
            let index = by.map_or(index as u32, |by| number(&record[by]));
            for (field, value) in record {
                let refers = field == "id"
                    || field.ends_with("shmid")
                    || ["exe_file_id", "cwd_id", "root_id"].contains(&field.as_str());
                let file = self.files.get(&if refers { number(value) } else { 0 });
                let Some(file) = file.filter(|_| refers) else {
                    own.fields.insert(format!("{kind}.img[{index}].{field}"), value.clone());
                    continue;
                };
                // An area tells itself how its file is to be opened.
                let is_flags = |of_file: &str| kind == "mm" && of_file.ends_with(".flags");
                for (of_file, value) in file.iter().filter(|(of_file, _)| !is_flags(of_file)) {
                    // Brackets are for positions alone.
                    let user = format!("{kind} {index} {}", field.replace(['[', ']'], " "));
                    own.fields.insert(format!("files.img[{user}].{of_file}"), value.clone());
                }
            }
        }
    }
}
