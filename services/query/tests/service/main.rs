//! The query service through its port: in-process, on a log in memory and the embedded store.
//!
//! One engine serves all tests of this process, each with a database of its own. Without
//! `libchdb.so` the tests that need it fail and say how to get it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod access;
mod admin;
mod interleave;
mod limits;
mod matrix;
mod model;
mod readings;
mod registry;
mod silence;
mod site;
mod support;
