//! What is written of a storm, through the layers as they are put together.

use super::*;
use std::io;
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::SubscriberExt};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn storm(number: u32) {
    tracing::error!(number, "the disk is full");
}

#[test]
fn of_a_storm_few_lines_are_written_and_the_others_counted() {
    let (now, written) = (Arc::new(AtomicU64::new(0)), Written::default());
    let clock = now.clone();
    let limit = RateLimit::new(move || Duration::from_secs(clock.load(Relaxed)));
    let filter = super::super::filter("error", "info");
    let lines = tracing_subscriber::fmt::layer().json().with_writer(written.clone());
    let subscriber =
        tracing_subscriber::registry().with(filter).with(lines.with_filter(limit.clone()));
    let before = suppressed_lines();
    tracing::subscriber::with_default(subscriber, || {
        (0..10_000).for_each(storm);
        tracing::error!("something else");
        limit.say_suppressed();
        limit.say_suppressed();
        now.store(1, Relaxed);
        (0..3).for_each(storm);
        limit.say_suppressed();
        limit.say_suppressed();
    });
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let parsed = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<String> = parsed
        .map(|line| {
            assert_eq!(line["level"], "ERROR", "{line}");
            let fields = &line["fields"];
            match (&fields["suppressed"], &fields["number"]) {
                (count, _) if count.is_u64() => format!("{} {count}", fields["said"]),
                (_, number) => format!("{} {number}", fields["message"]),
            }
        })
        .collect();
    let mut want: Vec<String> = (0..10).map(|n| format!("\"the disk is full\" {n}")).collect();
    want.push("\"something else\" null".into());
    want.push("\"the disk is full\" 9990".into());
    want.push("\"the disk is full\" 0".into());
    want.push("\"the disk is full\" 2".into());
    assert_eq!(lines, want);
    assert_eq!(suppressed_lines() - before, 9_992);
}
