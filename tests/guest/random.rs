//! Random trees of processes, moved while the guest is under load, each of
//! which looks at all that it has.
//!
//! A tree follows from its seed alone. `OVMIGRATE_TEST_SEED=N` has the test try
//! that one only, `N-M` all from one to another, on the kernel that the run is on.

use crate::harness::{
    Guest, Guests, Job, Run, TestKernel, guests, kept, ovmigrate, rounds, wait_for,
};

/// Names the seeds to try: one, or the first and the last.
const ENVIRONMENT: &str = "OVMIGRATE_TEST_SEED";
/// How many trees stand in the guest at a time.
const AT_A_TIME: usize = 5;
const FOLDER: &str = "/var/tmp/ovmigrate-tests/random.d";
/// Those of this run: others for each kernel, and more where tests repeat.
fn seeds() -> Vec<u32> {
    if let Ok(chosen) = std::env::var(ENVIRONMENT) {
        let (first, last) = chosen.split_once('-').unwrap_or((&chosen, &chosen));
        let number = |text: &str| text.parse::<u32>();
        return match (number(first), number(last)) {
            (Ok(first), Ok(last)) if first <= last => (first..=last).collect(),
            _ => panic!("{ENVIRONMENT}={chosen}: is neither a number nor two like 61000-61019"),
        };
    }
    let line: String = TestKernel::chosen().release.chars().filter(char::is_ascii_digit).collect();
    let first = line.parse::<u32>().expect("a release line") * 1000;
    (first..first + rounds(200).min(80)).collect()
}

/// A tree that has been started in the source.
struct Tree<'a> {
    seed: u32,
    job: Job<'a>,
}

impl Tree<'_> {
    fn folder(&self) -> String {
        format!("{FOLDER}/{}", self.seed)
    }

    fn images(&self, guests: &Guests) -> String {
        format!("{}-{}", guests.images(), self.seed)
    }

    /// Saves it and says what was in the way.
    fn save(&self, guests: &Guests) -> Result<(), String> {
        let (pid, images) = (self.job.pid.to_string(), self.images(guests));
        let domain = guests.source.name;
        // The load keeps the guest's kernel from finishing what it does meanwhile.
        let save = ["save", "--domain", domain, "--pid", &pid, "--images-dir", &images];
        let save = [&save[..], &["--timeout", "60s"]].concat();
        self.outcome("save", ovmigrate(save))
    }

    fn restore(&self, guests: &Guests) -> Result<(), String> {
        let images = self.images(guests);
        let domain = guests.destination.name;
        let run = ovmigrate(["restore", "--domain", domain, "--images-dir", &images]);
        std::fs::remove_dir_all(images).unwrap();
        self.outcome("restore", run)
    }

    fn outcome(&self, what: &str, run: Run) -> Result<(), String> {
        let failed = || format!("seed {}: {what}: {}", self.seed, run.stderr);
        if run.status.success() { Ok(()) } else { Err(failed()) }
    }
}

/// Has all trees look at what they have; those that miss something.
fn ask(trees: &[Tree<'_>]) -> Vec<String> {
    let before: Vec<usize> = trees.iter().map(|tree| tree.job.log().len()).collect();
    for tree in trees {
        tree.job.kill("USR1");
    }
    let said = trees.iter().zip(before).map(|(tree, before)| {
        let said = wait_for(&format!("the tree of seed {} answers", tree.seed), || {
            let new = tree.job.log().get(before..)?.to_owned();
            new.lines().any(|line| line.starts_with("done")).then_some(new)
        });
        (!said.contains(" 0 lost")).then(|| format!("seed {}: {said}", tree.seed))
    });
    said.flatten().collect()
}

fn start<'g>(guest: &'g Guest, program: &str, seeds: &[u32]) -> Vec<Tree<'g>> {
    let start = |seed: &u32| {
        let job = guest.spawn(&[program, &seed.to_string(), &format!("{FOLDER}/{seed}")]);
        Tree { seed: *seed, job }
    };
    let trees: Vec<_> = seeds.iter().map(start).collect();
    let made = |tree: Tree<'g>| Tree { job: tree.job.once_it_prints("ready"), ..tree };
    trees.into_iter().map(made).collect()
}

/// Moves the trees of these seeds; what was lost.
fn moved(guests: &Guests, seeds: &[u32]) -> Vec<String> {
    for guest in [&guests.source, &guests.destination] {
        // What a run left that was cut short.
        guest.end_all("random");
        guest.sh(&format!("rm -rf {FOLDER}; mkdir -p {FOLDER}"));
    }
    guests.destination.program("random");
    let mut trees = start(&guests.source, &guests.source.program("random"), seeds);
    let mut failures = ask(&trees);
    assert!(failures.is_empty(), "before they are moved: {failures:#?}");
    trees.retain(|tree| tree.save(guests).map_err(|failure| failures.push(failure)).is_ok());
    let left = guests.source.running("random");
    if failures.is_empty() && !left.is_empty() {
        failures.push(format!("seeds {seeds:?}: left in the source: {left}"));
    }
    if trees.is_empty() {
        return failures;
    }
    let files: Vec<_> =
        trees.iter().flat_map(|tree| [tree.folder(), tree.job.log.clone()]).collect();
    guests.copy_whole(&files.iter().map(String::as_str).collect::<Vec<_>>());
    guests.destination.keeping_last_pid(|| {
        trees.retain(|tree| tree.restore(guests).map_err(|it| failures.push(it)).is_ok());
    });
    let there = |tree: Tree<'_>| {
        guests.destination.adopt(tree.job.pid);
        Tree { job: Job { guest: &guests.destination, ..tree.job }, seed: tree.seed }
    };
    let trees: Vec<_> = trees.into_iter().map(there).collect();
    failures.extend(ask(&trees));
    guests.source.end_all("random");
    guests.destination.end_all("random");
    failures
}

#[test]
fn random_trees_are_as_they_were() {
    let guests = guests();
    let mut failures = Vec::new();
    for seeds in seeds().chunks(AT_A_TIME) {
        println!("seeds {seeds:?}");
        let load = guests.source.load();
        failures.extend(moved(&guests, seeds));
        load.end();
    }
    assert!(failures.is_empty(), "{ENVIRONMENT}=SEED tries one again: {failures:#?}");
    kept(&["random trees, made and moved under load"]);
}
