//! How a ClickHouse is reached, and what its errors mean.

use clickhouse::error::Error;
use clickhouse::{Client, Compression};
use heliograph_domain::{Secret, Violation, Violations};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use crate::codes::StoreErrorClass;
use crate::{codes, connections::Limited};

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `http://host:port` of a ClickHouse server or of the embedded store.
    pub url: String,
    pub database: String,
    #[serde(with = "empty_is_none")]
    pub user: Option<String>,
    pub password: Secret,
    /// The cluster's name in the server's configuration. With it tables are replicated, DDL goes
    /// `ON CLUSTER` and an insert waits for a quorum; without it, for the disk.
    #[serde(with = "empty_is_none")]
    pub cluster: Option<String>,
    /// Connections of one client: the writer and the query service have one each.
    pub connections_max: usize,
}

/// Shorter than the server keeps an idle connection: ClickHouse's default is 3 s.
const IDLE_MAX: Duration = Duration::from_secs(2);

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            url: "http://127.0.0.1:8123".into(),
            database: "heliograph".into(),
            user: None,
            password: Secret::default(),
            cluster: None,
            connections_max: 32,
        }
    }
}

impl StoreConfig {
    /// Every value that makes no sense.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::of("store");
        match address(&self.url) {
            Address::Plain => {}
            // What stands before the @ may be a password.
            Address::WithUser(rest) => {
                let want = "an address without user and password: they have keys of their own";
                found.add("url", format_args!("\"http://***@{rest}\""), want);
            }
            Address::Wrong => {
                let got = format!("{:?}", self.url);
                found.add("url", got, "http://host:port of ClickHouse's HTTP interface");
            }
        }
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if self.database.is_empty() || !plain(&self.database) {
            found.add("database", format!("{:?}", self.database), "letters, digits and _");
        }
        if let Some(cluster) = self.cluster.as_deref().filter(|name| !plain(name)) {
            found.add("cluster", format!("{cluster:?}"), "letters, digits and _");
        }
        // Both travel as HTTP headers.
        let visible = |text: &str| text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if let Some(user) = self.user.as_deref().filter(|user| !visible(user)) {
            found.add("user", format!("{user:?}"), "ASCII without control characters");
        }
        if !visible(self.password.expose()) {
            found.add("password", "\"***\"", "ASCII without control characters");
        }
        found.range("connections_max", self.connections_max, 1, 10_000);
        found.into_vec()
    }
}

enum Address<'a> {
    Plain,
    WithUser(&'a str),
    Wrong,
}

/// The client speaks plain HTTP; what follows the address is its own.
fn address(url: &str) -> Address<'_> {
    let Some(rest) = url.strip_prefix("http://") else { return Address::Wrong };
    if let Some((_, rest)) = rest.rsplit_once('@') {
        return Address::WithUser(rest);
    }
    let authority = rest.split('/').next().unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().is_ok_and(|port| port > 0)),
        None => (authority, true),
    };
    let strange = |c: char| c.is_whitespace() || c.is_control() || "?#\"<>".contains(c);
    match !host.is_empty() && port && !rest.contains(strange) {
        true => Address::Plain,
        false => Address::Wrong,
    }
}

/// In the file, an empty text stands for "none": TOML has no null, and every key has a default.
mod empty_is_none {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(v: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(v.as_deref().unwrap_or_default())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
        Ok(Some(String::deserialize(d)?).filter(|text| !text.is_empty()))
    }
}

/// A client for everything: queries, blocks, migrations. Clones share its connections.
pub fn connect(config: &StoreConfig) -> Client {
    let http = HttpClient::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_MAX)
        .build(Limited::new(config.connections_max));
    let mut client = Client::with_http_client(http)
        .with_url(&config.url)
        .with_database(&config.database)
        // The loopback interface is faster than any codec, and the embedded store knows none.
        .with_compression(Compression::None)
        // Late data of many sites may be of more months than the default allows, and a block that is
        // refused for it comes again for ever. The rules of a reading's time are the bound.
        .with_setting("max_partitions_per_insert_block", "0")
        .with_product_info("heliograph", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &config.user {
        client = client.with_user(user);
    }
    if config.password.is_set() {
        client = client.with_password(config.password.expose());
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
    // Without a code it is not ClickHouse that answers, but something in front of it. Of its status
    // nothing is left where it wrote a page of its own.
    match text.get(..3).and_then(|status| status.parse::<u16>().ok()) {
        Some(429 | 500..=599) => (TryAgain, "a proxy in front of the server is in trouble"),
        Some(_) => (Stop, "what answers is not ClickHouse"),
        None => (TryAgain, "what answers is not ClickHouse: something in front of it, or another"),
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
            ("a page of a proxy's own", response("<h1>502 Bad Gateway</h1>"), TryAgain),
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
        let config = StoreConfig { password: "s3cret".into(), ..StoreConfig::default() };
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn a_wrong_value_is_named_and_no_secret_is() {
        type Spoil = fn(&mut StoreConfig);
        let rows: [(&str, Spoil, &str); 10] = [
            ("no connections", |c| c.connections_max = 0, "connections_max: got 0, want 1 to"),
            ("no scheme", |c| c.url = "ch:8123".into(), "url: got \"ch:8123\", want http://"),
            ("TLS is not spoken", |c| c.url = "https://ch".into(), "url: got \"https://ch\""),
            ("a port is a number", |c| c.url = "http://ch:x".into(), "url: got \"http://ch:x\""),
            ("no query", |c| c.url = "http://ch?x".into(), "url: got \"http://ch?x\""),
            ("a password in the address", |c| c.url = "http://u:s3cret@ch".into(), "http://***@ch"),
            ("a database", |c| c.database = String::new(), "database: got \"\", want letters"),
            ("a cluster's name", |c| c.cluster = Some("a b".into()), "cluster: got \"a b\""),
            ("a user is a header", |c| c.user = Some("a\nb".into()), "user: got \"a\\nb\""),
            ("so is a password", |c| c.password = "s3cret\n".into(), "password: got \"***\""),
        ];
        assert!(StoreConfig::default().violations().is_empty());
        for (name, spoil, words) in rows {
            let mut config = StoreConfig::default();
            spoil(&mut config);
            let said: Vec<_> = config.violations().iter().map(ToString::to_string).collect();
            assert!(said.len() == 1 && said[0].contains(words), "{name}: {said:?}");
            assert!(said[0].starts_with("store.") && !said[0].contains("s3cret"), "{said:?}");
        }
        for sound in ["http://127.0.0.1:8123", "http://ch", "http://[::1]:8123/"] {
            let config = StoreConfig { url: sound.into(), ..StoreConfig::default() };
            assert!(config.violations().is_empty(), "{sound}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let parsed: Result<StoreConfig, _> = serde_json::from_str(r#"{"databse":"x"}"#);
        let text = parsed.expect_err("unknown key").to_string();
        assert!(text.contains("databse") && text.contains("database"), "{text}");
    }
}
