//! What is applied, what is refused, and what the files look like on one node and on a cluster.

use super::*;

const A: File = File { name: "0001_a.sql", text: "A" };
const B: File = File { name: "0002_b.sql", text: "B" };
const C: File = File { name: "0003_c.sql", text: "C" };

fn applied(file: &File) -> Applied {
    let version = file.version().expect("version");
    Applied { version, name: file.name.into(), sha256: file.sha256() }
}

#[test]
fn files_are_applied_once_and_in_order() {
    type Files = &'static [File];
    let rows: &[(&str, Files, Files, &[&str])] = &[
        (
            "an empty database gets all",
            &[A, B, C],
            &[],
            &["0001_a.sql", "0002_b.sql", "0003_c.sql"],
        ),
        ("the order is that of the numbers", &[C, A, B], &[A], &["0002_b.sql", "0003_c.sql"]),
        ("what is there is left alone", &[A, B], &[A, B], &[]),
    ];
    for (name, files, history, want) in rows {
        let history: Vec<_> = history.iter().map(applied).collect();
        let got: Vec<_> =
            pending(files, &history).expect(name).iter().map(|file| file.name).collect();
        assert_eq!(got, *want, "{name}");
    }
}

#[test]
fn a_changed_old_file_is_refused_with_both_hashes() {
    let changed = File { text: "A ", ..A };
    let text = pending(&[changed, B], &[applied(&A)]).expect_err("changed").to_string();
    for part in ["0001_a.sql", &A.sha256(), &changed.sha256()] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_file_that_is_missing_below_the_newest_is_refused() {
    let taken_out = pending(&[A], &[applied(&A), applied(&B)]).expect_err("taken out");
    assert!(taken_out.to_string().contains("0002_b.sql"), "{taken_out}");
    let slipped_in = pending(&[A, B, C], &[applied(&A), applied(&C)]).expect_err("slipped in");
    assert!(slipped_in.to_string().contains("0002_b.sql"), "{slipped_in}");
    assert_eq!(slipped_in.class(), StoreErrorClass::Stop);
}

#[test]
fn the_binary_holds_every_file_of_the_directory() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/clickhouse");
    let mut on_disk: Vec<String> = std::fs::read_dir(dir)
        .expect("schemas/clickhouse")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".sql"))
        .collect();
    on_disk.sort();
    let in_binary: Vec<_> = FILES.iter().map(|file| file.name).collect();
    assert_eq!(in_binary, on_disk);
    for (index, file) in FILES.iter().enumerate() {
        assert_eq!(file.version(), u32::try_from(index + 1).ok(), "{}", file.name);
    }
}

#[test]
fn every_statement_can_be_repeated_and_every_column_says_what_it_is() {
    let words = Words::new(&StoreConfig::default()).expect("words");
    for file in FILES {
        let filled = words.fill(file.name, file.text).expect("filled");
        for statement in statements(&filled) {
            assert!(statement.contains("IF NOT EXISTS"), "{}: {statement}", file.name);
            let columns = statement.lines().filter(|line| {
                line.starts_with("    ")
                    && line.as_bytes().get(4).is_some_and(u8::is_ascii_lowercase)
            });
            let comments = statement.matches("\n        COMMENT '").count();
            assert_eq!(columns.count(), comments, "{}: a column without a comment", file.name);
        }
    }
}

#[test]
fn a_cluster_replicates_and_one_node_syncs_to_disk() {
    let text =
        "CREATE TABLE t {on_cluster} ENGINE = {replacing_merge_tree}(v) SETTINGS {durability}";
    let one = Words::new(&StoreConfig::default()).expect("words").fill("f", text).expect("filled");
    assert_eq!(
        one,
        "CREATE TABLE t  ENGINE = ReplacingMergeTree(v) \
         SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
    );
    let config = StoreConfig { cluster: Some("main".into()), ..StoreConfig::default() };
    let many = Words::new(&config).expect("words").fill("f", text).expect("filled");
    assert_eq!(
        many,
        "CREATE TABLE t ON CLUSTER `main` ENGINE = ReplicatedReplacingMergeTree(v) \
         SETTINGS fsync_after_insert = 0, fsync_part_directory = 0"
    );
}

#[test]
fn names_that_could_end_a_statement_are_refused() {
    for name in ["", "a b", "a`; DROP DATABASE b", "a-b"] {
        let config = StoreConfig { database: name.into(), ..StoreConfig::default() };
        assert!(Words::new(&config).is_err(), "{name:?}");
        let config = StoreConfig { cluster: Some(name.into()), ..StoreConfig::default() };
        assert!(Words::new(&config).is_err(), "{name:?}");
    }
    let words = Words::new(&StoreConfig::default()).expect("words");
    let error = words.fill("f.sql", "SELECT {oops}").expect_err("placeholder").to_string();
    assert!(error.contains("f.sql") && error.contains("{oops}"), "{error}");
}
