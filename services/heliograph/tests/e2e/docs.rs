//! What the documents name must exist.

use crate::support::repository;
use anyhow::ensure;

const ROOTS: [&str; 10] = [
    "crates/",
    "services/",
    "proto/",
    "schemas/",
    "docs/",
    "scripts/",
    "tests/",
    "sample-data/",
    "k8s/",
    "web/",
];

/// Paths in backticks or in a link's target that begin with a folder of ours.
fn paths(text: &str) -> Vec<&str> {
    text.split(['`', '(', ')', ' ', '\n', '"', ','])
        .map(|word| word.trim_end_matches(['.', ':', ';', '|']))
        .filter(|word| ROOTS.iter().any(|root| word.starts_with(root)))
        .collect()
}

#[test]
fn every_path_that_the_documents_name_exists() -> anyhow::Result<()> {
    for (document, at_least) in [("ARCHITECTURE.md", 25), ("README.md", 2)] {
        let text = std::fs::read_to_string(repository().join(document))?;
        let paths = paths(&text);
        ensure!(paths.len() >= at_least, "{document} names only {paths:?}");
        for path in paths {
            ensure!(
                repository().join(path).exists(),
                "{document} names {path}, which is not there"
            );
        }
    }
    Ok(())
}

#[test]
fn a_path_that_is_not_there_would_be_found() {
    let text = "see `crates/domain/src/nothing.rs`, and [x](docs/adr/0001.md).";
    assert_eq!(paths(text), ["crates/domain/src/nothing.rs", "docs/adr/0001.md"]);
}

/// README's table of commands and the program's own list are the same.
#[test]
fn the_commands_of_the_readme_are_those_of_the_program() -> anyhow::Result<()> {
    let help = crate::support::heliograph(&repository()).arg("--help").output()?;
    let help = String::from_utf8(help.stdout)?;
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    let table: String = readme.lines().filter(|l| l.starts_with("| `heliograph ")).collect();
    let commands = help
        .lines()
        .take_while(|line| *line != "Options:")
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help");
    let mut count = 0;
    for command in commands {
        count += 1;
        let named = [format!("heliograph {command}"), format!("`{command}`")];
        ensure!(named.iter().any(|n| table.contains(n)), "README does not name {command}");
    }
    ensure!(count >= 8, "the help lists {count} commands:\n{help}");
    Ok(())
}
