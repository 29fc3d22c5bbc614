//! One suite, every adapter: what `port` promises, each promise a test per adapter.
//!
//! `suite` knows the port alone. An adapter is added by `conformance!(name, make)`, where `make`
//! is an async function that returns a [`Fixture`]: an open log, and what has to live as long.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "conformance/group.rs"]
mod group;
#[path = "conformance/kafka.rs"]
mod kafka_broker;
#[path = "conformance/process.rs"]
mod process;
#[path = "conformance/suite.rs"]
mod suite;
#[path = "conformance/support.rs"]
mod support;

use heliograph_log::local::{LocalConfig, LocalLog};
use heliograph_log::memory::MemoryLog;
use support::Fixture;

/// Makes a test of every case for one adapter.
macro_rules! conformance {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            conformance!(@cases $make; suite:
                a_record_comes_back_as_it_went
                a_partition_keeps_the_order_of_first_polls
                concurrent_appends_get_different_offsets
                append_time_never_goes_back
                a_new_partition_is_empty
                reading_begins_where_it_is_told
                reading_at_the_end_is_empty
                a_read_is_bounded_and_never_stuck
                a_read_may_begin_below_the_first_offset
                waiting_ends_with_an_append
                waiting_ends_with_the_time_out
                waiting_for_what_is_there_ends_at_once
                too_large_a_record_is_refused
                an_unknown_topic_is_refused
                topics_are_created_once
                a_changed_number_of_partitions_is_refused
                a_compacted_topic_ends_at_the_last_value_of_each_key
                a_compacted_topic_takes_no_record_without_a_key
            );
            conformance!(@cases $make; group:
                a_lone_member_gets_every_partition_and_record
                members_share_the_partitions
                a_partition_is_handed_over_only_after_release
                what_is_not_ours_keeps_nothing_else_from_its_release
                a_new_member_goes_on_from_the_commit
                a_commit_can_be_read_back
                groups_do_not_disturb_each_other
                a_former_owner_may_not_commit
                a_paused_partition_is_silent
                what_was_paused_when_it_went_is_read_when_it_comes_back
                a_dropped_next_loses_nothing
                who_drops_every_next_gets_on
                closing_hands_over
                dropping_hands_over
                a_waiting_member_wakes_with_an_append
                no_partition_waits_for_a_busy_one
            );
        }
    };
    (@cases $make:path; $module:ident: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = $make().await;
                super::$module::$case(fixture.log.clone()).await;
            }
        )*
    };
}

conformance!(memory, super::memory_log);
conformance!(local, super::local_log);
conformance!(kafka, super::kafka_broker::log);

async fn memory_log() -> Fixture {
    Fixture { log: MemoryLog::new(), keep: Box::new(()) }
}

async fn local_log() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let config =
        LocalConfig { dir: dir.path().into(), min_free_bytes: 0, ..LocalConfig::default() };
    Fixture { log: LocalLog::open(config).unwrap(), keep: Box::new(dir) }
}
