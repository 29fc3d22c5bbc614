//! What a crash leaves behind: a line in the log, no core dump. In a process of its own, since it is
//! about the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use heliograph_service::{runtime, telemetry};
use rustix::process::{Resource, getrlimit};
use std::process::{Command, ExitCode, Output};

const CHILD: &str = "HELIOGRAPH_TEST_CRASH";

/// Not a test, but the process that one looks at: `main` of a service with a panicking task.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    telemetry::init();
    let code = runtime::run(|_| async {
        let crashed = tokio::spawn(async { panic!("a bug, of all things") }).await;
        assert!(crashed.is_err());
        #[allow(clippy::print_stdout, reason = "what the test reads")]
        {
            println!("core={:?}", getrlimit(Resource::Core).current);
            #[cfg(target_os = "linux")]
            println!("{:?}", rustix::process::dumpable_behavior().unwrap());
        }
        Ok(ExitCode::SUCCESS)
    });
    assert_eq!(code, ExitCode::SUCCESS);
}

fn run(core_dumps: &str) -> (String, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, "1").env_remove("RUST_LOG");
    command.env(runtime::CORE_DUMPS, core_dumps);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

#[test]
fn a_panic_is_a_line_of_the_log_with_its_place() {
    let (_, stderr) = run("");
    let lines = stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let panics: Vec<_> = lines.filter(|line| line["fields"]["message"] == "panicked").collect();
    let [line] = &panics[..] else { panic!("{stderr}") };
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["panic"], "a bug, of all things");
    let location = line["fields"]["location"].as_str().unwrap();
    assert!(location.contains("tests/crash.rs:"), "{location}");
}

#[test]
fn there_are_no_core_dumps_unless_they_are_asked_for() {
    let (stdout, _) = run("");
    assert!(stdout.contains("core=Some(0)"), "{stdout}");
    assert!(cfg!(not(target_os = "linux")) || stdout.contains("NotDumpable"), "{stdout}");
    let (stdout, _) = run("1");
    assert!(cfg!(not(target_os = "linux")) || stdout.contains("\nDumpable"), "{stdout}");
}
