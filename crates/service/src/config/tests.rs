use super::*;
use heliograph_domain::{Secret, Violations};
use serde::Deserialize;
use std::{io::Write, net::SocketAddr, time::Duration};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Demo {
    gateway: Section,
    writer: Section,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    listen: SocketAddr,
    places: usize,
    #[serde(with = "duration")]
    drain: Duration,
    password: Secret,
    free: BTreeMap<String, Secret>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            places: 3,
            drain: Duration::from_secs(5),
            password: Secret::default(),
            free: BTreeMap::new(),
        }
    }
}

impl Settings for Demo {
    const SECRETS: &'static [&'static str] = &["gateway.password", "gateway.free."];

    fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::of("gateway");
        found.range("places", self.gateway.places, 1, 9);
        if self.gateway.places < self.writer.places {
            found.add("places", self.gateway.places, "at least writer.places");
        }
        found.into_vec()
    }
}

fn read(text: &str, env: &[(&str, &str)]) -> Loaded<Demo> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut loaded = load_from(Some(file.path()), env);
    // The name of the file is another each time.
    for mistake in &mut loaded.mistakes {
        if let Some(Origin::File { path, .. }) = &mut mistake.origin {
            *path = "f.toml".into();
        }
        let name = file.path().display().to_string();
        mistake.violation.field = mistake.violation.field.replace(&name, "f.toml");
    }
    loaded
}

fn said(loaded: &Loaded<Demo>) -> Vec<String> {
    loaded.mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_is_read_and_the_environment_overrides_it() {
    let text = "[gateway]\nplaces = 7\ndrain = \"9s\"\n[gateway.free]\n\"a.b\" = \"x\"";
    let env = [
        ("HELIOGRAPH_GATEWAY__PLACES", " 8 "),
        ("HELIOGRAPH_GATEWAY__PASSWORD", "12345"),
        ("HELIOGRAPH_GATEWAY__FREE__SASL_USER", "u"),
        ("HELIOGRAPH_CONFIG", "not ours here"),
        ("HELIOGRAPH_GATEWAY_PORT", "tcp://what-an-orchestrator-sets"),
        ("PATH", "/bin"),
    ];
    let loaded = read(text, &env);
    assert_eq!(said(&loaded), Vec::<String>::new());
    let gateway = &loaded.settings.gateway;
    assert_eq!((gateway.places, gateway.drain), (8, Duration::from_secs(9)));
    assert_eq!(gateway.password.expose(), "12345", "text stays text");
    assert_eq!(gateway.free["a.b"].expose(), "x");
    assert_eq!(gateway.free["sasl.user"].expose(), "u");
    assert_eq!(
        loaded.origins["gateway.places"],
        Origin::Environment("HELIOGRAPH_GATEWAY__PLACES".into())
    );
    assert_eq!(loaded.origins["gateway.drain"].to_string().split(" of ").next(), Some("line 3"));
    assert_eq!(loaded.settings.writer, Section::default());
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = "[gateway]\nplaces = \"many\"\ndrain = 5\nlisten = \"here\"\nfrobs = 1\n[writer]\n\
                places = -1\n[gatway]";
    let loaded = read(text, &[("HELIOGRAPH_WRITER__DRAIN", "soon")]);
    let want = [
        "gateway.frobs: got an unknown key, want one of drain, free, listen, password, places \
         (line 5 of f.toml)",
        "gatway: got an unknown section, want a known one: did you mean gateway? \
         (line 8 of f.toml)",
        "gateway.listen: got \"here\", want an IP address and a port, such as 127.0.0.1:8080 or \
         [::]:8080 (line 4 of f.toml)",
        "gateway.places: got \"many\", want a whole number, 0 or more (line 2 of f.toml)",
        "writer.places: got -1, want a whole number, 0 or more (line 7 of f.toml)",
        "gateway.drain: got 5, want a duration such as 250ms, 5s, 2m or 1h (line 3 of f.toml)",
        "writer.drain: got \"soon\", want a duration such as 250ms, 5s, 2m or 1h (environment \
         HELIOGRAPH_WRITER__DRAIN)",
    ];
    let mut said = said(&loaded);
    let mut want: Vec<String> = want.iter().map(ToString::to_string).collect();
    said.sort();
    want.sort();
    assert_eq!(said, want);
}

#[test]
fn a_default_that_stands_in_for_a_mistake_is_not_blamed() {
    let loaded = read("[gateway]\nplaces = 2\n[writer]\nplaces = \"x\"", &[]);
    assert_eq!(said(&loaded).len(), 1, "{:?}", said(&loaded));
    assert_eq!(said(&read("[gateway]\nplaces = 2", &[])).len(), 1, "2 is less than writer's 3");
}

#[test]
fn no_message_repeats_a_secret() {
    let rows = [
        ("a number", "[gateway]\npassword = 5318008", "gateway.password: got \"***\""),
        ("no quotes", "[gateway]\npassword = hunter5318008", "got `password = …`, want TOML"),
        ("a free key", "[gateway.free]\n\"a.b\" = 5318008", "gateway.free.\"a.b\": got \"***\""),
        ("what is printed", "[gateway]\npassword = \"***\"", "want the secret itself"),
    ];
    for (name, text, want) in rows {
        let said = said(&read(text, &[]));
        assert!(said.len() == 1 && said[0].contains(want), "{name}: {said:?}");
        assert!(!said[0].contains("5318008"), "{name}: {said:?}");
    }
    let shown = table(&read("[gateway]\npassword = \"5318008\"", &[]).settings).to_string();
    assert!(shown.contains("password = \"***\"") && !shown.contains("5318008"), "{shown}");
}

#[test]
fn a_process_passes_over_the_sections_of_others() {
    let text = "[writer]\nfrobs = 1\n";
    assert!(read(text, &[]).sound().is_err());
    assert!(read(text, &[]).sound_for(&["gateway"]).is_ok());
    assert!(read(text, &[]).sound_for(&["gateway", "writer"]).is_err());
    assert!(read("[wrter]", &[]).sound_for(&["gateway"]).is_err(), "nobody's section");
    assert!(read("[writer", &[]).sound_for(&["gateway"]).is_err(), "no TOML at all");
}
