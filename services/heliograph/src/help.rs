//! The overview that `heliograph --help` gives: the commands in groups, as one meets them.
//!
//! Invariant: every command is in one group (a test says which is not). Names and summaries are
//! those of the commands themselves; a command of [`GROUPS`] that does not exist is passed over.

use clap::{
    Command,
    builder::{Resettable, StyledStr},
};
use std::fmt::Write;

/// Wider help is harder to read, however wide the terminal.
const COLUMNS_MAX: usize = 100;

const GROUPS: [(&str, &[&str]); 6] = [
    ("Run it", &["up", "config", "doctor"]),
    ("Sites, and who may do what", &["site", "tenant", "token"]),
    ("Data in, data out", &["upload", "metrics", "sites", "readings", "dead-letters"]),
    ("Who is silent, and whose fault it is", &["status", "alerts", "explain"]),
    ("Try and check", &["simulate", "audit", "lag"]),
    ("Run it as separate services, and repair", &["migrate", "store", "rebuild"]),
];
/// What belongs to the program and not to its work.
const LAST: (&str, &[&str]) = ("This program", &["completions", "help"]);

/// Of the other commands: what they are for stands below the summary.
const COMMAND_TEMPLATE: &str =
    "{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// `command` with its overview.
pub fn with_overview(command: Command) -> Command {
    let template = template(&command);
    command.max_term_width(COLUMNS_MAX).mut_subcommands(compact).help_template(template)
}

/// One help for `-h` and `--help`. clap's long one, which it takes for every command that is
/// described in more than one line, spreads each option over three.
fn compact(command: Command) -> Command {
    let text = |styled: Option<&StyledStr>| styled.map(ToString::to_string).unwrap_or_default();
    let (about, long) = (text(command.get_about()), text(command.get_long_about()));
    let details = long.strip_prefix(&about).unwrap_or(&long).trim_start_matches('.').trim();
    let command = command.mut_subcommands(compact).long_about(Resettable::Reset);
    match (details, command.has_subcommands()) {
        ("", true) => command,
        ("", false) => command.help_template(COMMAND_TEMPLATE),
        (details, _) => command.before_help(details.to_owned()).help_template(COMMAND_TEMPLATE),
    }
}

fn template(command: &Command) -> String {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut text = "{about}\n\n{usage-heading} {usage}\n".to_owned();
    for (title, names) in GROUPS.iter().chain([&LAST]) {
        let members: Vec<(&str, String)> =
            names.iter().filter_map(|name| Some((*name, summary(command, name)?))).collect();
        if members.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{header}{title}:{header:#}");
        for (name, summary) in members {
            let _ = writeln!(text, "  {literal}{name:<13}{literal:#} {summary}");
        }
    }
    let _ = write!(text, "\n{header}Options:{header:#}\n{{options}}{{after-help}}");
    text
}

fn summary(command: &Command, name: &str) -> Option<String> {
    match name {
        // clap adds this one when it parses.
        "help" => Some("Print this message, or the help of a command".to_owned()),
        _ => Some(command.find_subcommand(name)?.get_about()?.to_string()),
    }
}

#[cfg(test)]
mod tests;
