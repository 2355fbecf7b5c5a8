//! Real servers that are moved while the guest is under load, and have what they
//! had: each is asked by a client of its own.

use std::fs;

use crate::harness::{Guest, Guests, Job, guests, kept, refused, wait_for};

const FOLDER: &str = "/var/tmp/ovmigrate-tests/server";
/// Of the server, and the next one for what watches it.
const PORT: u16 = 7711;
/// How much clients store.
const COUNT: u32 = 200;

/// The servers have a folder to work in, with this configuration, and nothing is
/// left of one that was cut short.
fn prepare(guests: &Guests, configuration: &str) {
    for guest in [&guests.source, &guests.destination] {
        guest.sh("pkill -KILL -x 'memcached|nginx|redis-server|nats-server|postgres' || true");
        guest.sh(&format!("rm -rf {FOLDER}; mkdir -p {FOLDER}"));
    }
    let here = guests.folder.join("configuration");
    fs::write(&here, configuration).unwrap();
    guests.source.push(&here, &format!("{FOLDER}/configuration"));
}

/// Starts a server and waits until it can be connected to.
fn start<'g>(guest: &'g Guest, command: &[&str]) -> Job<'g> {
    let job = guest.spawn(command);
    wait_for("it listens", || {
        let listens = !guest.sh(&format!("ss -Htln 'sport = :{PORT}'")).is_empty();
        assert!(listens || job.is_alive(), "{command:?} has ended: {}", job.log());
        listens.then_some(())
    });
    job
}

/// Has the client store or check, and returns what it says of the server.
fn client(guest: &Guest, server: &str, action: &str) -> String {
    let script = guest.program("client.py");
    let said = guest.sh(&format!("python3 {script} {server} {PORT} {action} {COUNT} 2>&1"));
    said.strip_suffix("ok\n").unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// Waits until nothing is left of the connections of clients that are gone.
fn wait_for_closed_connections(guest: &Guest) {
    wait_for("its connections are closed", || {
        let left = "ss -Htn state connected exclude time-wait";
        let left = guest.sh(&format!("{left} 'sport >= :{PORT} and sport <= :{}'", PORT + 1));
        left.is_empty().then_some(())
    });
}

/// Moves a server with its files.
fn moved<'g>(guests: &'g Guests, job: &Job<'_>) -> Job<'g> {
    wait_for_closed_connections(job.guest);
    guests.save_under_load(job.pid);
    guests.copy_whole(&[FOLDER, &job.log]);
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    Job { guest: &guests.destination, pid: job.pid, log: job.log.clone() }
}

/// Ends a server as its users do.
fn end(job: &Job<'_>) {
    job.kill("TERM");
    job.wait_for_end();
}

/// It has its listening socket not wait for more data, which CRIU keeps since 4.0.
#[test]
fn memcached_has_what_was_stored() {
    const STATE: &str = "memcached, with what it has stored";
    let guests = guests();
    prepare(&guests, "");
    let port = PORT.to_string();
    let command = ["memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", &port, "-U", "0"];
    let job = start(&guests.source, &command);
    client(&guests.source, "memcached", "store");
    wait_for_closed_connections(&guests.source);
    if let Some(words) = guests.refused_by_old_criu(&job, "tcp_opts") {
        client(&guests.source, "memcached", "check");
        end(&job);
        refused(STATE, &words);
        return;
    }
    let moved = moved(&guests, &job);
    client(&guests.destination, "memcached", "check");
    end(&moved);
    kept(&[STATE]);
}

#[test]
fn nginx_answers_with_all_its_workers() {
    let guests = guests();
    let configuration = format!(
        "user www-data; worker_processes 3; daemon off; pid {FOLDER}/pid;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n\
             access_log {FOLDER}/accesses;\n\
             server {{\n\
                 listen 127.0.0.1:{PORT} reuseport;\n\
                 root {FOLDER}/www;\n\
                 add_header X-Worker $pid;\n\
                 location = /status {{ stub_status; }}\n\
             }}\n\
         }}\n"
    );
    prepare(&guests, &configuration);
    let write = format!("for i in $(seq 0 {COUNT}); do echo $i >{FOLDER}/www/$i.txt; done");
    guests.source.sh(&format!("mkdir {FOLDER}/www; {write}"));
    let (errors, configuration) = (format!("{FOLDER}/errors"), format!("{FOLDER}/configuration"));
    // From its beginning on.
    let job = start(&guests.source, &["nginx", "-e", &errors, "-c", &configuration]);
    let workers = client(&guests.source, "nginx", "store");
    assert_eq!(workers.split_whitespace().count(), 4, "three workers: {workers}");
    let moved = moved(&guests, &job);
    assert_eq!(client(&guests.destination, "nginx", "check"), workers);
    // The master talks with its workers.
    let pids = || moved.guest.sh(&format!("pgrep -P {} | sort -n", moved.pid));
    let before = pids();
    moved.kill("HUP");
    wait_for("it has new workers", || {
        let now = pids();
        let is_new = |pid| !before.lines().any(|old| old == pid);
        (now.lines().count() == 3 && now.lines().all(is_new)).then_some(())
    });
    end(&moved);
    kept(&["nginx, a master and workers that share sockets and memory"]);
}

#[test]
fn redis_goes_on_with_its_append_only_file() {
    let guests = guests();
    let configuration = format!(
        "port {PORT}\nbind 127.0.0.1\ndir {FOLDER}\nsave \"\"\nappendonly yes\n\
         appendfsync everysec\n"
    );
    prepare(&guests, &configuration);
    let command = ["redis-server", &format!("{FOLDER}/configuration")];
    let ask = |guest: &Guest, command: &str| {
        guest.sh(&format!("seq 1 {COUNT} | sed 's/.*/{command}/' | redis-cli -p {PORT}"))
    };
    let lines = |line: &dyn Fn(u32) -> String| (1..=COUNT).map(line).collect::<String>();
    let job = start(&guests.source, &command);
    assert_eq!(ask(&guests.source, "SET key& &&&"), "OK\n".repeat(COUNT as usize));
    assert_eq!(ask(&guests.source, "INCRBY sum &").lines().last(), Some("20100"));
    let moved = moved(&guests, &job);
    let values = lines(&|number| format!("{number}{number}{number}\n"));
    assert_eq!(ask(&guests.destination, "GET key&"), values);
    assert_eq!(ask(&guests.destination, "INCRBY sum &").lines().last(), Some("40200"));
    assert_eq!(ask(&guests.destination, "SET new& -&"), "OK\n".repeat(COUNT as usize));
    end(&moved);
    // Another one finds all of it in the file.
    let other = start(&guests.destination, &command);
    assert_eq!(ask(&guests.destination, "GET key&"), values);
    assert_eq!(ask(&guests.destination, "GET new&"), lines(&|number| format!("-{number}\n")));
    assert_eq!(ask(&guests.destination, "INCRBY sum 0").lines().last(), Some("40200"));
    end(&other);
    kept(&["Redis, with its append-only file"]);
}

#[test]
fn a_server_in_go_has_its_goroutines_timers_and_channels() {
    let guests = guests();
    let configuration = format!(
        "listen: 127.0.0.1:{PORT}\nhttp: 127.0.0.1:{}\nping_interval: \"1s\"\nping_max: 1000\n",
        PORT + 1
    );
    prepare(&guests, &configuration);
    let command = ["nats-server", "-c", &format!("{FOLDER}/configuration")];
    // CRIU knows no Multipath TCP, which servers in Go listen by where they can.
    let command = [&["env", "GODEBUG=multipathtcp=0"], &command[..]].concat();
    let job = start(&guests.source, &command);
    let kept_by_it = client(&guests.source, "nats", "store");
    let moved = moved(&guests, &job);
    assert_eq!(client(&guests.destination, "nats", "check"), kept_by_it);
    end(&moved);
    kept(&["a server in Go (nats-server), with its counts and timers"]);
}

/// It has a segment of SysV shared memory, by which a server tells that another one
/// uses its files.
#[test]
fn postgresql_is_refused_and_answers_on() {
    let guests = guests();
    prepare(&guests, "");
    let programs = guests.source.sh("echo /usr/lib/postgresql/*/bin");
    let programs = programs.trim();
    let user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
    let make = format!("{programs}/initdb --no-sync --auth=trust {FOLDER}/data");
    guests.source.sh(&format!("chown postgres {FOLDER}; {} {make}", user.join(" ")));
    let (postgres, port) = (format!("{programs}/postgres"), PORT.to_string());
    let (data, sockets) = (format!("{FOLDER}/data"), "unix_socket_directories=");
    let server = [postgres.as_str(), "-D", &data, "-p", &port, "-c", sockets];
    let job = start(&guests.source, &[&user[..], &server].concat());
    let message = guests.save(job.pid, &[]).failure();
    let words = "a segment of SysV shared memory";
    assert!(message.contains(words), "{message}");
    let ask = format!("{programs}/psql -h 127.0.0.1 -p {PORT} -U postgres -Atc 'select 6 * 7'");
    wait_for("it answers", || {
        let answer = guests.source.try_sh(&ask);
        (answer.stdout == b"42\n").then_some(())
    });
    // At once, without waiting for what it writes.
    job.kill("QUIT");
    job.wait_for_end();
    refused("PostgreSQL", words);
}
