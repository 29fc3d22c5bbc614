//! The checks of what lies on this machine: configuration, directory, process, disk, limits. Pure.

use super::{checks::Findings, facts::*};

/// Files that are open besides connections: tables, journals, the engine's parts.
const FILES_BESIDE: u64 = 1_024;

pub(super) fn config(out: &mut Findings, config: &ConfigFacts) {
    let file = config.file.as_deref().unwrap_or("defaults and environment");
    if config.mistakes.is_empty() {
        out.ok("configuration", format!("{file}: sound"));
    }
    for mistake in &config.mistakes {
        out.fail("configuration", mistake, "change the key; docs/heliograph.toml explains each");
    }
}

fn start(path: &str) -> String {
    format!("start it: heliograph up --data-dir {path}")
}

pub(super) fn directory(out: &mut Findings, directory: &Directory) {
    const CHECK: &str = "data directory";
    let path = &directory.path;
    match &directory.state {
        State::Missing => out.fail(
            CHECK,
            format!("{path} is not there"),
            format!("name the right one with --data-dir, or {}", start(path)),
        ),
        State::NoDirectory => {
            out.fail(CHECK, format!("{path} is a file"), "name a directory with --data-dir");
        }
        State::Unreadable(error) => out.fail(
            CHECK,
            format!("{path} cannot be read: {error}"),
            "run as the user that `heliograph up` runs as",
        ),
        State::There { has_log: false, .. } => out.fail(
            CHECK,
            format!("{path} holds no installation"),
            format!("name the right one with --data-dir, or {}", start(path)),
        ),
        State::There { owner, we, is_writable: false, .. } => out.fail(
            CHECK,
            format!("{path} belongs to user {owner} and user {we} cannot write it"),
            format!("run as user {owner}, or chown -R {we} {path}"),
        ),
        State::There { owner, we, .. } if owner != we && *we != 0 => out.warn(
            CHECK,
            format!("{path} belongs to user {owner}, this is user {we}"),
            format!("run every command of this installation as user {owner}"),
        ),
        State::There { .. } => out.ok(CHECK, format!("{path}: there and writable")),
    }
    if matches!(directory.state, State::There { has_log: true, .. }) {
        endpoint(out, directory);
    }
}

fn endpoint(out: &mut Findings, directory: &Directory) {
    const CHECK: &str = "process";
    let path = &directory.path;
    match &directory.endpoint {
        EndpointFacts::Missing => {
            out.fail(
                CHECK,
                format!("{path}/endpoint.json is not there: nothing runs"),
                start(path),
            );
        }
        EndpointFacts::Broken(error) => out.fail(
            CHECK,
            error,
            format!(
                "remove {path}/endpoint.json and {}; it makes a new operator's token",
                start(path)
            ),
        ),
        EndpointFacts::There { pid, is_alive: false, .. } => out.fail(
            CHECK,
            format!("nothing runs: process {pid} of endpoint.json has ended"),
            start(path),
        ),
        EndpointFacts::There { pid, others_read: true, .. } => out.warn(
            CHECK,
            format!("process {pid} runs, but others can read the token in {path}/endpoint.json"),
            format!("chmod 600 {path}/endpoint.json"),
        ),
        EndpointFacts::There { pid, .. } => out.ok(CHECK, format!("process {pid} runs")),
    }
}

pub(super) fn disk(out: &mut Findings, directory: &Directory, min_free_bytes: u64) {
    const CHECK: &str = "disk";
    let disk = match &directory.disk {
        Ok(disk) => disk,
        // Whatever keeps it from being asked has been told of the directory.
        Err(_) if !matches!(directory.state, State::There { .. }) => return,
        Err(error) => {
            let found = format!("cannot be asked: {error}");
            return out.warn(CHECK, found, "look with: df -h, df -i");
        }
    };
    let (free, mark) = (mib(disk.free_bytes), mib(min_free_bytes));
    if disk.free_bytes < min_free_bytes {
        let found = format!("{free} free: below {mark} the log takes nothing, uploads get 503");
        out.fail(CHECK, found, "make room; it goes on by itself");
    } else if disk.inodes > 0 && disk.inodes_free == 0 {
        out.fail(CHECK, "no inode is free: no file can be made", "remove files; see: df -i");
    } else if disk.free_bytes < min_free_bytes.saturating_mul(4) {
        let found = format!("{free} free; below {mark} the log takes nothing");
        out.warn(CHECK, found, "make room before uploads are refused");
    } else if disk.inodes > 0 && disk.inodes_free < disk.inodes / 100 {
        let found = format!("{} of {} inodes free", disk.inodes_free, disk.inodes);
        out.warn(CHECK, found, "remove files; see: df -i");
    } else {
        out.ok(CHECK, format!("{free} free, {} inodes", disk.inodes_free));
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

pub(super) fn engine(out: &mut Findings, facts: &Facts) {
    match &facts.engine {
        None => {}
        Some(Ok(path)) => out.ok("engine library", path),
        Some(Err(error)) => {
            let mend = "scripts/fetch-libchdb.sh fetches it; HELIOGRAPH_LIBCHDB names another";
            out.fail("engine library", error, mend);
        }
    }
}

pub(super) fn descriptors(out: &mut Findings, facts: &Facts) {
    const CHECK: &str = "open files";
    let Some(Descriptors { whose, soft_max }) = &facts.descriptors else { return };
    let wanted = facts.config.connections_max + FILES_BESIDE;
    if *soft_max >= wanted {
        return out.ok(CHECK, format!("{whose} may open {soft_max}; {wanted} are wanted"));
    }
    out.warn(
        CHECK,
        format!(
            "{whose} may open {soft_max}, but {wanted} are wanted: {} connections and the rest",
            facts.config.connections_max
        ),
        format!(
            "ulimit -n {wanted} (LimitNOFILE= of systemd), or lower http.connections_max of \
             [gateway] and [query]"
        ),
    );
}
