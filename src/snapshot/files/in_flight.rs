//! Descriptors in flight, as `criu restore` sends them again.
//!
//! The process that makes the sender does it, from a descriptor of its own. Two
//! sockets that are connected to each other it gives what is in flight in its
//! second look at them, or never, if the descriptor has not come by then from
//! another process that makes it (`post_open_interconnected_master()`,
//! `criu/sk-unix.c`). A file is made by the process with the lowest number of
//! those that have it (`file_master()`, `criu/files.c`).

use std::collections::{BTreeMap, BTreeSet};

/// Processes by what they have.
type ByFile = BTreeMap<u32, BTreeSet<u32>>;

/// A message with descriptors in the queue of a socket. Files have any numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flight {
    /// The socket.
    pub to: u32,
    /// The socket that sends it again.
    pub from: Option<u32>,
    /// What is in flight.
    pub files: Vec<u32>,
}

/// Who has the files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlightFiles {
    /// The processes that have each file open, in each descriptor table the one
    /// with the lowest number.
    pub holders: BTreeMap<u32, BTreeSet<u32>>,
    /// Files that are made together, by the process with the lowest number of
    /// all: ends of a pipe.
    pub pipes: Vec<Vec<u32>>,
    /// Sockets that are connected to each other: made together by the one of
    /// either.
    pub pairs: Vec<[u32; 2]>,
    /// Sockets that are connected to nothing. Restore has whoever holds one make
    /// it another end (`add_fake_queuer()`, `criu/sk-unix.c`).
    pub alone: BTreeSet<u32>,
}

/// What is wrong with the queue of a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlightProblem {
    /// The socket.
    pub to: u32,
    /// Why restore loses it, as what it has: `a descriptor in flight that ..`.
    pub why: String,
}

impl FlightFiles {
    /// The sockets to which restore does not send what is in flight to them, in
    /// this order; each once.
    pub fn problems(&self, flights: &[Flight]) -> Vec<FlightProblem> {
        let (senders, users) = self.senders(flights);
        let makers = self.makers(&users);
        let mut by_socket: ByFile = BTreeMap::new();
        for (flight, sender) in flights.iter().zip(&senders) {
            by_socket.entry(flight.to).or_default().extend(sender);
        }
        let mut told = BTreeSet::new();
        let pairs: BTreeSet<[u32; 2]> = self.pairs.iter().copied().map(sorted).collect();
        let problem = |(flight, sender): (&Flight, Option<u32>)| {
            let why = match sender {
                None => Some("a descriptor in flight that nobody can send again".to_owned()),
                Some(sender) => self.problem(flight, sender, &pairs, &by_socket, &users, &makers),
            };
            why.map(|why| FlightProblem { to: flight.to, why })
        };
        let problems = flights.iter().zip(senders).filter_map(problem);
        problems.filter(|problem| told.insert(problem.to)).collect()
    }

    /// The process that sends each message, and those that have each file when
    /// all are sent: the sender gets a descriptor of what it sends.
    fn senders(&self, flights: &[Flight]) -> (Vec<Option<u32>>, ByFile) {
        let mut users = self.holders.clone();
        let mut senders = Vec::new();
        for flight in flights {
            let from = flight.from.unwrap_or(flight.to);
            let sender = users.get(&from).and_then(BTreeSet::first).copied();
            for file in &flight.files {
                users.entry(*file).or_default().extend(sender);
            }
            senders.push(sender);
        }
        users.retain(|_, users| !users.is_empty());
        (senders, users)
    }

    /// The first and the last of the processes that make each file: of a pair
    /// either socket's.
    fn makers(&self, users: &ByFile) -> BTreeMap<u32, (u32, u32)> {
        let first = |file: &u32| users.get(file).and_then(BTreeSet::first).copied();
        let alone = users.keys().filter_map(|file| Some((*file, (first(file)?, first(file)?))));
        let mut makers: BTreeMap<u32, (u32, u32)> = alone.collect();
        for ends in &self.pipes {
            if let Some(lowest) = ends.iter().filter_map(first).min() {
                makers.extend(ends.iter().map(|end| (*end, (lowest, lowest))));
            }
        }
        for pair in &self.pairs {
            let of = || pair.iter().filter_map(first);
            if let (Some(lowest), Some(highest)) = (of().min(), of().max()) {
                makers.extend(pair.map(|socket| (socket, (lowest, highest))));
            }
        }
        makers
    }

    fn problem(
        &self,
        flight: &Flight,
        sender: u32,
        pairs: &BTreeSet<[u32; 2]>,
        senders: &ByFile,
        users: &ByFile,
        makers: &BTreeMap<u32, (u32, u32)>,
    ) -> Option<String> {
        let is_lost = |file| self.alone.contains(file) && !self.holders.contains_key(file);
        if flight.files.iter().any(is_lost) {
            return Some("a socket in flight that is connected to nothing".into());
        }
        // Others wait for what they send.
        let from = flight.from.filter(|from| pairs.contains(&sorted([*from, flight.to])))?;
        let first = |file| users.get(&file).and_then(BTreeSet::first).copied();
        if let Some(other) = first(from).filter(|first| *first != sender) {
            return Some(format!("a descriptor in flight that process {other} would send"));
        }
        let mut back = senders.get(&from).into_iter().flatten();
        if let Some(back) = back.find(|back| **back != sender) {
            let both = format!("processes {sender} and {back}");
            return Some(format!("descriptors in flight from {both} to each other"));
        }
        // That of the pair itself is made by the sender.
        let mut files = flight.files.iter().filter(|file| ![flight.to, from].contains(file));
        let other = files.find_map(|file| {
            let (lowest, highest) = *makers.get(file)?;
            [lowest, highest].into_iter().find(|maker| *maker != sender)
        })?;
        Some(format!("a descriptor in flight that process {other} makes, not {sender}, its sender"))
    }
}

fn sorted([one, other]: [u32; 2]) -> [u32; 2] {
    [one.min(other), one.max(other)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sockets 1 and 2 are a pair, 3 and 4 another one, 5 and 6 a pipe.
    fn files(holders: &[(u32, &[u32])]) -> FlightFiles {
        FlightFiles {
            holders: holders
                .iter()
                .map(|(file, by)| (*file, by.iter().copied().collect()))
                .collect(),
            pipes: vec![vec![5, 6]],
            pairs: vec![[1, 2], [3, 4]],
            alone: [10, 11].into(),
        }
    }

    fn flight(to: u32, from: Option<u32>, files: &[u32]) -> Flight {
        Flight { to, from, files: files.to_vec() }
    }

    fn told(files: &FlightFiles, flights: &[Flight]) -> Vec<(u32, String)> {
        files.problems(flights).into_iter().map(|problem| (problem.to, problem.why)).collect()
    }

    #[test]
    fn what_the_sender_makes_arrives() {
        let files =
            files(&[(1, &[100, 101]), (2, &[100]), (4, &[100]), (5, &[101]), (7, &[100, 101])]);
        // A file that nobody has any more, one that others have, too, an end of
        // a pipe, and the sockets themselves.
        assert_eq!(told(&files, &[flight(1, Some(2), &[8, 7, 6, 3, 1, 2])]), []);
        assert_eq!(told(&files, &[flight(1, Some(2), &[7]), flight(2, Some(1), &[7])]), []);
    }

    #[test]
    fn what_another_process_makes_may_come_too_late() {
        let of = |file: u32| files(&[(1, &[100]), (2, &[101]), (file, &[100])]);
        let late = "a descriptor in flight that process 100 makes, not 101, its sender";
        assert_eq!(told(&of(7), &[flight(1, Some(2), &[7])]), [(1, late.into())]);
        assert_eq!(told(&of(5), &[flight(1, Some(2), &[6])]), [(1, late.into())]);
        assert_eq!(told(&of(3), &[flight(1, Some(2), &[4])]), [(1, late.into())]);
        let pair = files(&[(1, &[100]), (2, &[100]), (3, &[101])]);
        let other = "a descriptor in flight that process 101 makes, not 100, its sender";
        assert_eq!(told(&pair, &[flight(1, Some(2), &[4])]), [(1, other.into())]);
        // One that is connected one way waits, and whoever makes the other end of a
        // socket whose peer was closed.
        assert_eq!(told(&of(7), &[flight(12, Some(2), &[7])]), []);
        assert_eq!(told(&of(7), &[flight(1, None, &[7])]), []);
    }

    #[test]
    fn one_process_sends_both_ways() {
        let files = files(&[(1, &[100]), (2, &[101])]);
        let flights = [flight(1, Some(2), &[8]), flight(2, Some(1), &[9])];
        let words = |first, second| {
            format!("descriptors in flight from processes {first} and {second} to each other")
        };
        assert_eq!(told(&files, &flights), [(1, words(101, 100)), (2, words(100, 101))]);
        assert_eq!(told(&files, &flights[..1]), []);
    }

    #[test]
    fn a_socket_that_is_connected_to_nothing_is_held_by_somebody() {
        let held = files(&[(1, &[100]), (2, &[100]), (10, &[100])]);
        assert_eq!(told(&held, &[flight(1, Some(2), &[10])]), []);
        let nothing = "a socket in flight that is connected to nothing";
        assert_eq!(told(&held, &[flight(1, Some(2), &[11])]), [(1, nothing.into())]);
    }

    #[test]
    fn a_sender_is_held_by_somebody() {
        let nobody = "a descriptor in flight that nobody can send again";
        let held = files(&[(1, &[100])]);
        assert_eq!(told(&held, &[flight(1, Some(2), &[2])]), [(1, nobody.into())]);
        // In flight from a lower process, it would be that one's.
        let held = files(&[(1, &[101]), (2, &[101]), (3, &[100]), (4, &[100])]);
        let flights = [flight(1, Some(2), &[8]), flight(3, Some(4), &[2])];
        let other = "a descriptor in flight that process 100 would send";
        assert_eq!(told(&held, &flights)[0], (1, other.into()));
    }

    #[test]
    fn what_is_in_flight_has_something_in_flight() {
        let held = files(&[(1, &[100]), (2, &[100])]);
        let outer = flight(1, Some(2), &[3, 4]);
        let inner = flight(3, Some(4), &[8]);
        assert_eq!(told(&held, &[outer.clone(), inner.clone()]), []);
        let nobody = "a descriptor in flight that nobody can send again";
        assert_eq!(told(&held, &[inner, outer]), [(3, nobody.into())]);
    }
}
