//! The embedded store, tested through its port. One engine serves all tests of this process, each
//! with a database of its own; what needs other limits, a kill or an exit runs in a child process.

#![allow(clippy::expect_used, reason = "a test says what it expected, helpers included")]

mod cancel;
mod insert;
mod limits;
mod migrations;
mod process;
mod select;
mod support;
