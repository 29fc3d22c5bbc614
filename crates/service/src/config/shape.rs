//! Which keys there are: what nobody knows is named, with what was probably meant.

use super::{HIDDEN, dotted, leaves, shown, source::Given};
use crate::meant::nearest;
use toml::{Table, Value};

/// Takes out of `given` what the template does not have, with a mistake for each.
pub(super) fn check(given: &mut Given, template: &Table, is_secret: &dyn Fn(&str) -> bool) {
    let mut table = std::mem::take(&mut given.table);
    Walk { given, template, is_secret, path: Vec::new() }.section(&mut table, template);
    given.table = table;
}

struct Walk<'a> {
    given: &'a mut Given,
    template: &'a Table,
    is_secret: &'a dyn Fn(&str) -> bool,
    path: Vec<String>,
}

impl Walk<'_> {
    fn section(&mut self, table: &mut Table, known: &Table) {
        table.retain(|key, value| {
            self.path.push(key.to_owned());
            let keep = self.key(value, known);
            self.path.pop();
            keep
        });
    }

    /// Whether the value may stay.
    fn key(&mut self, value: &mut Value, known: &Table) -> bool {
        let key = dotted(&self.path);
        let is_secret = (self.is_secret)(&key);
        let name = self.path.last().cloned().unwrap_or_default();
        let Some(wanted) = known.get(&name) else {
            // A section that stands nowhere is not a key that stands elsewhere.
            let (got, elsewhere) = match value.is_table() {
                true => ("an unknown section", &Table::new()),
                false => ("an unknown key", self.template),
            };
            self.given.wrong(&self.path, got.into(), meant(&key, &name, known, elsewhere));
            return false;
        };
        match (wanted, value) {
            (Value::Table(free), Value::Table(_)) if free.is_empty() => true,
            (Value::Table(wanted), Value::Table(inner)) => {
                self.section(inner, wanted);
                true
            }
            (Value::Table(_), value) => {
                let want = format!("a section: [{key}] with its keys below");
                self.given.wrong(&self.path, shown(value, is_secret), want);
                false
            }
            // As printed by `heliograph config`; taken for the secret it would only puzzle.
            (_, Value::String(text)) if is_secret && text == HIDDEN => {
                let want = "the secret itself: this is what stands for it where it is not shown";
                self.given.wrong(&self.path, format!("\"{HIDDEN}\""), want.into());
                false
            }
            _ => true,
        }
    }
}

/// What was meant, or what there is.
fn meant(key: &str, name: &str, siblings: &Table, template: &Table) -> String {
    let parent = key.strip_suffix(name).unwrap_or_default();
    if let Some(near) = nearest(name, siblings.keys().map(String::as_str)) {
        return format!("a known one: did you mean {parent}{near}?");
    }
    let elsewhere = leaves(template).into_iter().map(|(key, _)| key);
    let elsewhere: Vec<String> = elsewhere.filter(|k| k.rsplit('.').next() == Some(name)).collect();
    match elsewhere.is_empty() {
        false => format!("a known one: did you mean {}?", elsewhere.join(" or ")),
        true => {
            let names: Vec<&str> = siblings.keys().map(String::as_str).collect();
            format!("one of {}", names.join(", "))
        }
    }
}
