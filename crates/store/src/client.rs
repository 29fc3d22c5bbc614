//! How a ClickHouse is reached, and what its errors mean.

use std::fmt;

use clickhouse::error::Error;
use clickhouse::{Client, Compression};
use serde::Deserialize;

use crate::codes;
pub use crate::codes::StoreErrorClass;

/// Where the store is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `http://host:port` of a ClickHouse server or of the embedded store.
    pub url: String,
    pub database: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The cluster's name in the server's configuration. With it tables are replicated, DDL goes
    /// `ON CLUSTER` and an insert waits for a quorum; without it, for the disk.
    pub cluster: Option<String>,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            url: "http://127.0.0.1:8123".into(),
            database: "heliograph".into(),
            user: None,
            password: None,
            cluster: None,
        }
    }
}

impl fmt::Debug for StoreConfig {
    /// Configurations end up in logs; the password does not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &self.url)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("cluster", &self.cluster)
            .finish()
    }
}

/// A client for everything: queries, blocks, migrations. Clones share its connections.
pub fn connect(config: &StoreConfig) -> Client {
    let mut client = Client::default()
        .with_url(&config.url)
        .with_database(&config.database)
        // The loopback interface is faster than any codec, and the embedded store knows none.
        .with_compression(Compression::None)
        .with_product_info("heliograph", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &config.user {
        client = client.with_user(user);
    }
    if let Some(password) = &config.password {
        client = client.with_password(password);
    }
    if config.cluster.is_some() {
        client = client.with_setting("insert_quorum", "auto");
    }
    client
}

/// What to do about an error: wait, set the block aside, or call a person.
pub fn classify(error: &Error) -> StoreErrorClass {
    explain(error).0
}

/// The class and the reason for it, in words for a log line or a dead letter.
pub fn explain(error: &Error) -> (StoreErrorClass, &'static str) {
    use StoreErrorClass::{BadBlock, Stop, TryAgain};
    match error {
        Error::Network(_) => (TryAgain, "the server is away or broke off"),
        Error::TimedOut => (TryAgain, "the server did not answer in time"),
        Error::BadResponse(text) => explain_response(text),
        Error::SequenceMustHaveLength
        | Error::InvalidTagEncoding(_)
        | Error::VariantDiscriminatorIsOutOfBound(_)
        | Error::InvalidUtf8Encoding(_)
        | Error::Custom(_) => (BadBlock, "a row cannot be encoded"),
        Error::SchemaMismatch(_) | Error::InvalidColumnsHeader(_) => {
            (Stop, "the table's columns are not those of this build: migrations are missing")
        }
        _ => (Stop, "not a matter of the store's state or of the rows"),
    }
}

fn explain_response(text: &str) -> (StoreErrorClass, &'static str) {
    use StoreErrorClass::{Stop, TryAgain};
    if let Some(number) = codes::number_in(text) {
        return codes::lookup(number)
            .map_or((Stop, "nobody has judged this code"), |code| (code.class, code.why));
    }
    // Without a code it is not ClickHouse that answers, but something in front of it.
    match text.get(..3).and_then(|status| status.parse::<u16>().ok()) {
        Some(429 | 500..=599) => (TryAgain, "a proxy in front of the server is in trouble"),
        _ => (Stop, "what answers is not ClickHouse"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Error {
        Error::BadResponse(text.into())
    }

    fn exception(code: u32) -> Error {
        response(&format!("Code: {code}. DB::Exception: text. (NAME) (version 26.5)"))
    }

    #[test]
    fn errors_are_classified_by_what_helps() {
        use StoreErrorClass::{BadBlock, Stop, TryAgain};
        let rows: Vec<(&str, Error, StoreErrorClass)> = vec![
            ("a connection refused passes", Error::Network("refused".into()), TryAgain),
            ("so does a time-out of ours", Error::TimedOut, TryAgain),
            ("and one of the server's", exception(159), TryAgain),
            ("too many queries", exception(202), TryAgain),
            ("a socket time-out", exception(209), TryAgain),
            ("a network error between servers", exception(210), TryAgain),
            ("its memory is used by others", exception(241), TryAgain),
            ("a replica without its keeper", exception(242), TryAgain),
            ("a full disk, until somebody frees it", exception(243), TryAgain),
            ("parts that wait for merges", exception(252), TryAgain),
            ("no quorum", exception(285), TryAgain),
            ("the keeper's own errors", exception(999), TryAgain),
            ("a proxy without a server behind it", response("502 Bad Gateway"), TryAgain),
            ("a rate limit", response("429 Too Many Requests"), TryAgain),
            ("text that is no number", exception(72), BadBlock),
            ("text that is no value", exception(6), BadBlock),
            ("input of another form", exception(27), BadBlock),
            ("a quoted string without its end", exception(26), BadBlock),
            ("a column of another type", exception(53), BadBlock),
            ("a value out of bounds", exception(69), BadBlock),
            ("data that is not what it says", exception(117), BadBlock),
            ("a row that cannot be encoded", Error::Custom("x".into()), BadBlock),
            ("a table that is not there", exception(60), Stop),
            ("a database that is not there", exception(81), Stop),
            ("a column that is not there", exception(16), Stop),
            ("an unknown user", exception(192), Stop),
            ("a wrong password", exception(193), Stop),
            ("a failed authentication", exception(516), Stop),
            ("a missing right", exception(497), Stop),
            ("a code that nobody has judged", exception(9999), Stop),
            ("columns of another build", Error::SchemaMismatch("x".into()), Stop),
            ("a page that is not ClickHouse's", response("404 Not Found"), Stop),
            ("another page", response("<html>"), Stop),
        ];
        for (name, error, want) in rows {
            let (class, why) = explain(&error);
            assert_eq!(class, want, "{name}: {error}");
            assert_eq!(classify(&error), class, "{name}");
            assert!(!why.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_password_stays_out_of_logs() {
        let config = StoreConfig { password: Some("s3cret".into()), ..StoreConfig::default() };
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let parsed: Result<StoreConfig, _> = serde_json::from_str(r#"{"databse":"x"}"#);
        let text = parsed.expect_err("unknown key").to_string();
        assert!(text.contains("databse") && text.contains("database"), "{text}");
    }
}
