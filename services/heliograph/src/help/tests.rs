//! Every help text, held to the same rules by walking the tree of commands.

use super::{COLUMNS_MAX, GROUPS, LAST};
use crate::cli::{Cli, command};
use clap::{Command, Parser};

/// Behind a command's name, within the width of the help.
const SUMMARY_MAX: usize = COLUMNS_MAX - 4;

/// Every command below `heliograph`, as one types it.
fn all() -> Vec<(String, Command)> {
    fn walk(path: &str, command: &Command, found: &mut Vec<(String, Command)>) {
        for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            walk(&path, sub, found);
            found.push((path, sub.clone()));
        }
    }
    let mut root = command();
    root.build();
    let mut found = vec![("heliograph".to_owned(), root.clone())];
    walk("heliograph", &root, &mut found);
    found
}

fn is_leaf(command: &Command) -> bool {
    !command.get_subcommands().any(|c| c.get_name() != "help")
}

/// What stands behind `Examples…:` in the help.
fn after_help(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// The command lines in a text, without what a shell adds: prompt, `$( )`, pipes, redirections,
/// background, comments. A line that ends in a backslash goes on.
fn command_lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let of_line = |line: &str| -> Option<String> {
        let line = line.trim().trim_start_matches("$ ");
        let starts = ["$(", "<(", "| ", "&& "].map(|before| format!("{before}heliograph "));
        let inner = starts.iter().find_map(|s| Some(line.find(s.as_str())? + s.len()));
        let rest = match inner {
            Some(at) => &line[at..],
            None => line.strip_prefix("heliograph ")?,
        };
        let ends = [" |", " >", " <", " &", " #", ";", ")"];
        let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        Some(format!("heliograph {}", rest[..end].trim()))
    };
    joined.lines().filter_map(of_line).collect()
}

/// What is wrong, one line each.
fn assert_none(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_command_has_a_summary_of_one_line() {
    let mut wrong = Vec::new();
    for (path, command) in all() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        if about.is_empty() {
            wrong.push(format!("`{path}` has no summary: give it a doc comment"));
        } else if about.contains('\n') || about.len() > SUMMARY_MAX || about.ends_with('.') {
            wrong.push(format!(
                "`{path}`: want one line of at most {SUMMARY_MAX} letters without a full stop, got {about:?}; \
                 what is more goes into a second paragraph"
            ));
        }
    }
    assert_none("a command's summary", &wrong);
}

#[test]
fn every_command_that_runs_has_examples() {
    let mut wrong = Vec::new();
    for (path, command) in all().into_iter().filter(|(_, c)| is_leaf(c)) {
        let text = after_help(&command);
        if !text.starts_with("Example") {
            wrong.push(format!(
                "`{path}` has no examples: #[command(after_help = \"Examples:\\n  {path} …\")]"
            ));
        } else if !command_lines(&text).iter().any(|line| line.starts_with(&path)) {
            wrong.push(format!("`{path}`: none of its examples runs it:\n{text}"));
        }
    }
    assert_none("examples", &wrong);
}

#[test]
fn every_argument_says_what_it_is() {
    let mut wrong = Vec::new();
    for (path, command) in all() {
        for arg in command.get_arguments() {
            if arg.get_help().is_none_or(|help| help.to_string().trim().is_empty()) {
                wrong.push(format!("`{path}`: {arg} has no help: give the field a doc comment"));
            }
        }
    }
    assert_none("an argument's help", &wrong);
}

#[test]
fn every_example_is_taken_by_the_parser() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, command) in all() {
        for line in command_lines(&after_help(&command)) {
            seen += 1;
            if line.contains(['"', '\'']) {
                wrong.push(format!("`{path}`: {line}: an example needs no quotes"));
                continue;
            }
            if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
                let error = error.to_string();
                let first = error.lines().next().unwrap_or_default().to_owned();
                wrong.push(format!("`{path}`: {line}\n    {first}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} examples were found");
    assert_none("an example that does not work", &wrong);
}

#[test]
fn no_help_is_too_wide() {
    let mut wrong = Vec::new();
    for (path, mut command) in all() {
        for text in [command.render_help(), command.render_long_help()] {
            let wide = text.to_string();
            let wide = wide.lines().filter(|l| l.chars().count() > COLUMNS_MAX);
            wrong.extend(wide.map(|l| format!("`{path}`: {l}")));
        }
        // clap wraps these when it prints; a wrapped example can no longer be pasted.
        let after = after_help(&command);
        let wide = after.lines().filter(|l| l.chars().count() > COLUMNS_MAX);
        wrong.extend(wide.map(|l| format!("`{path}`, examples: {l}")));
    }
    wrong.dedup();
    assert_none(&format!("a line over {COLUMNS_MAX} columns"), &wrong);
}

#[test]
fn what_a_command_is_for_stands_in_its_help_and_each_option_on_a_line() {
    for flag in ["-h", "--help"] {
        let asked = command().try_get_matches_from(["heliograph", "readings", flag]);
        let help = asked.unwrap_err().to_string();
        let (before, options) = help.split_once("Options:\n").unwrap();
        assert!(before.contains("no line crosses a gap"), "{help}");
        let listed = options.lines().take_while(|line| !line.is_empty());
        assert!(listed.filter(|line| line.trim_start().starts_with("--")).count() > 10, "{help}");
    }
}

#[test]
fn every_command_is_in_one_group_of_the_overview() {
    let grouped: Vec<&str> =
        GROUPS.iter().chain([&LAST]).flat_map(|(_, names)| names.iter().copied()).collect();
    let overview = command().render_help().to_string();
    for sub in command().get_subcommands() {
        let name = sub.get_name();
        let places = grouped.iter().filter(|g| **g == name).count();
        assert_eq!(places, 1, "{name}: put it into one group of GROUPS in help.rs");
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let listed = |l: &str| l.starts_with(&format!("  {name} ")) && l.ends_with(&about);
        assert!(overview.lines().any(listed), "{name} {about}:\n{overview}");
    }
}

#[test]
fn a_command_line_is_found_in_what_a_shell_wraps_around_it() {
    let rows = [
        ("heliograph sites  # all", "heliograph sites"),
        ("$ heliograph sites --json | jq .site", "heliograph sites --json"),
        ("TOKEN=$(heliograph site add a --zone UTC)", "heliograph site add a --zone UTC"),
        ("heliograph site add a \\\n  --zone UTC", "heliograph site add a    --zone UTC"),
        ("heliograph up &", "heliograph up"),
        ("source <(heliograph completions bash)", "heliograph completions bash"),
    ];
    for (text, want) in rows {
        assert_eq!(command_lines(text), [want]);
    }
    assert!(command_lines("For heliograph alone:").is_empty());
}
