//! What a person sees of a run: a progress bar on a terminal, plain lines elsewhere, and the end.

use super::{fleet::Fleet, summary::FleetSummary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on stderr until it is dropped or aborted.
pub async fn show(fleet: Arc<Fleet>) {
    let terminal = std::io::stderr().is_terminal();
    let bar = terminal.then(|| bar(fleet.readings_expected()));
    let mut tick = tokio::time::interval(if terminal { BAR_EVERY } else { LINE_EVERY });
    tick.tick().await;
    loop {
        tick.tick().await;
        let summary = fleet.summary(false);
        match &bar {
            Some(bar) => {
                bar.set_position(summary.readings);
                bar.set_message(uploads(&summary));
            }
            None => {
                let line =
                    format!("simulate: {} readings, {}\n", summary.readings, uploads(&summary));
                // Nobody may be reading: then there is nothing to show.
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            }
        }
    }
}

fn bar(expected: Option<u64>) -> ProgressBar {
    let (bar, template) = match expected {
        Some(n) => (ProgressBar::new(n), "{bar:20} {pos}/{len} readings  {wide_msg}"),
        None => (ProgressBar::no_length(), "{spinner} {pos} readings  {wide_msg}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn uploads(s: &FleetSummary) -> String {
    let c = &s.counts;
    format!(
        "{} uploads accepted, {} refused, {} unanswered, {} not sent, {} dropped",
        c.uploads_accepted,
        c.uploads_refused,
        c.uploads_unanswered,
        c.uploads_not_sent,
        c.uploads_dropped
    )
}

/// The end of a run, for people.
pub fn end_text(s: &FleetSummary) -> String {
    let c = &s.counts;
    let mut text = format!(
        "run {}: {}\n  {} readings with a 2xx, checksum {}\n  {} requests: {} accepted, {} refused, \
         {} unanswered, {} not sent; {} of them repeated\n",
        s.run,
        if s.complete { "complete" } else { "cut short" },
        s.readings,
        s.checksum,
        c.uploads_sent,
        c.uploads_accepted,
        c.uploads_refused,
        c.uploads_unanswered,
        c.uploads_not_sent,
        c.uploads_resent,
    );
    for (status, n) in &c.refused_by_status {
        text += &format!("  {n} answers {status}\n");
    }
    for (reason, n) in &c.drop_reasons {
        text += &format!("  {n} uploads dropped: {reason}\n");
    }
    if c.readings_rejected > 0 {
        text += &format!("  {} readings rejected\n", c.readings_rejected);
    }
    if c.uploads_sent > 0 && c.uploads_sent == c.uploads_not_sent {
        text += "  nothing reached the gateway: is `heliograph up` running, is --gateway right?\n";
    }
    for site in &s.sites {
        text += &format!("  {:<24} {:>10} readings  {}\n", site.site, site.readings, site.checksum);
    }
    text
}
