//! The one process of the embedded log and store.

use super::{
    Counts, INTERVALS, Moments, audit, has_open_insert, is_between_insert_and_commit, kills,
    loggers, misses_an_answer, publish,
};
use crate::{
    support::{OnLog, Setup, data_dir, ports_in_a_row},
    unguarded,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_uploads_loses_nothing_and_doubles_nothing() -> anyhow::Result<()> {
    let dir = data_dir();
    // Always the same ports: loggers come back to the address that they know.
    let mut setup = Setup::new(OnLog::Local, dir.path()).port_base(ports_in_a_row(4)?);
    for (name, value) in INTERVALS.into_iter().chain(unguarded::env()) {
        setup = setup.env(name, value);
    }
    let mut up = setup.clone().start()?;
    unguarded::tables(&up).await?;
    let fleet = loggers(&up)?;
    let (mut moments, mut counts) = (Moments::of_seed()?, Counts::default());
    while counts.kills < kills()? {
        moments.pass(Duration::from_millis(1_500));
        let unanswered = fleet.unanswered();
        up.kill_all();
        counts.killed("up");
        counts.met("insert", has_open_insert(dir.path()));
        counts.met("insert_to_commit", is_between_insert_and_commit(dir.path())?);
        counts.met("append", misses_an_answer(&fleet, unanswered));
        up = setup.clone().start()?;
    }
    audit(fleet, &up, &mut counts)?;
    publish("local", &counts)?;
    up.stop()?;
    counts.check()
}
