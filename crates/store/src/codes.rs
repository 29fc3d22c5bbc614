//! ClickHouse's exception codes, in one table: what the writer does about each, and the HTTP status
//! that goes with it.
//!
//! Rule: a code is `TryAgain` only if waiting can help, `BadBlock` only if another block of the same
//! shape could be stored, and `Stop` otherwise: a code that nobody has judged stops the writer and
//! says why, because retrying for ever hides it and a dead letter throws good data away.

use serde::Serialize;

/// What a failed statement means for the one who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreErrorClass {
    /// The store is slow, busy or away: the same block will do later.
    TryAgain,
    /// The store is well and this block is not: it goes to the dead letters.
    BadBlock,
    /// Schema, rights or configuration are wrong: a person must look.
    Stop,
}

impl StoreErrorClass {
    pub const ALL: [Self; 3] = [TryAgain, BadBlock, Stop];

    /// One word for a metric; as it is serialized, too.
    pub const fn name(self) -> &'static str {
        match self {
            TryAgain => "try_again",
            BadBlock => "bad_block",
            Stop => "stop",
        }
    }
}

use StoreErrorClass::{BadBlock, Stop, TryAgain};

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    pub number: u32,
    pub class: StoreErrorClass,
    pub http_status: u16,
    /// ClickHouse's name for it and why it is in its class.
    pub name: &'static str,
    pub why: &'static str,
}

macro_rules! codes {
    ($($number:literal $name:ident $class:ident $status:literal $why:literal;)*) => {
        &[$(Code {
            number: $number,
            class: $class,
            http_status: $status,
            name: stringify!($name),
            why: $why,
        },)*]
    };
}

#[rustfmt::skip]
const CODES: &[Code] = codes! {
    3   UNEXPECTED_END_OF_FILE                BadBlock 500 "the block is shorter than it says";
    6   CANNOT_PARSE_TEXT                     BadBlock 400 "a value is not of its type";
    16  NO_SUCH_COLUMN_IN_TABLE               Stop     500 "the schema is another";
    20  NUMBER_OF_COLUMNS_DOESNT_MATCH        Stop     500 "the schema is another";
    25  CANNOT_PARSE_ESCAPE_SEQUENCE          BadBlock 400 "a value is not of its type";
    26  CANNOT_PARSE_QUOTED_STRING            BadBlock 400 "a value is not of its type";
    27  CANNOT_PARSE_INPUT_ASSERTION_FAILED   BadBlock 400 "a value is not of its type";
    32  ATTEMPT_TO_READ_AFTER_EOF             BadBlock 500 "the block is shorter than it says";
    33  CANNOT_READ_ALL_DATA                  BadBlock 500 "the block is shorter than it says";
    36  BAD_ARGUMENTS                         Stop     400 "the statement is wrong, not its rows";
    38  CANNOT_PARSE_DATE                     BadBlock 400 "a value is not of its type";
    41  CANNOT_PARSE_DATETIME                 BadBlock 400 "a value is not of its type";
    44  ILLEGAL_COLUMN                        Stop     400 "the schema is another";
    46  UNKNOWN_FUNCTION                      Stop     404 "the statement is wrong";
    47  UNKNOWN_IDENTIFIER                    Stop     404 "the statement or the schema is wrong";
    48  NOT_IMPLEMENTED                       Stop     501 "this server cannot do it, now or later";
    50  UNKNOWN_TYPE                          Stop     404 "the schema is another";
    53  TYPE_MISMATCH                         BadBlock 400 "a column of the block has another type";
    56  UNKNOWN_STORAGE                       Stop     404 "this server lacks the table engine";
    60  UNKNOWN_TABLE                         Stop     404 "migrations are missing";
    62  SYNTAX_ERROR                          Stop     400 "the statement is wrong";
    69  ARGUMENT_OUT_OF_BOUND                 BadBlock 500 "a value is outside of its range";
    70  CANNOT_CONVERT_TYPE                   BadBlock 500 "a column of the block has another type";
    72  CANNOT_PARSE_NUMBER                   BadBlock 400 "a value is not of its type";
    73  UNKNOWN_FORMAT                        Stop     404 "this server lacks the format";
    74  CANNOT_READ_FROM_FILE_DESCRIPTOR      TryAgain 500 "its disk is in trouble";
    75  CANNOT_WRITE_TO_FILE_DESCRIPTOR       TryAgain 500 "its disk is full or in trouble";
    76  CANNOT_OPEN_FILE                      TryAgain 503 "its disk is full or in trouble";
    78  UNKNOWN_TYPE_OF_QUERY                 Stop     404 "the statement is wrong";
    81  UNKNOWN_DATABASE                      Stop     404 "migrations are missing";
    108 NO_DATA_TO_INSERT                     BadBlock 500 "the block is empty";
    115 UNKNOWN_SETTING                       Stop     404 "this server is too old or too new";
    117 INCORRECT_DATA                        BadBlock 400 "the block is not what it says it is";
    130 CANNOT_READ_ARRAY_FROM_TEXT           BadBlock 400 "a value is not of its type";
    131 TOO_LARGE_STRING_SIZE                 BadBlock 500 "a value is outside of its range";
    158 TOO_MANY_ROWS                         Stop     500 "a limit of the query, which stays";
    159 TIMEOUT_EXCEEDED                      TryAgain 408 "it is slow now";
    160 TOO_SLOW                              TryAgain 500 "it is slow now";
    164 READONLY                              Stop     500 "this user may not write";
    170 CANNOT_GET_CREATE_TABLE_QUERY         Stop     500 "the table is damaged";
    192 UNKNOWN_USER                          Stop     403 "credentials are wrong";
    193 WRONG_PASSWORD                        Stop     403 "credentials are wrong";
    194 REQUIRED_PASSWORD                     Stop     401 "credentials are missing";
    198 DNS_ERROR                             TryAgain 500 "a name is not known now";
    201 QUOTA_EXCEEDED                        TryAgain 500 "a quota is used up until it renews";
    202 TOO_MANY_SIMULTANEOUS_QUERIES         TryAgain 503 "it is busy now";
    203 NO_FREE_CONNECTION                    TryAgain 500 "it is busy now";
    209 SOCKET_TIMEOUT                        TryAgain 503 "the network is slow";
    210 NETWORK_ERROR                         TryAgain 500 "the network broke off";
    225 NO_ZOOKEEPER                          TryAgain 500 "the keeper is away";
    236 ABORTED                               TryAgain 500 "the server is shutting down";
    241 MEMORY_LIMIT_EXCEEDED                 TryAgain 500 "its memory is used by others now";
    242 TABLE_IS_READ_ONLY                    TryAgain 500 "the replica has lost its keeper";
    243 NOT_ENOUGH_SPACE                      TryAgain 500 "its disk is full until somebody frees it";
    244 UNEXPECTED_ZOOKEEPER_ERROR            TryAgain 500 "the keeper is in trouble";
    252 TOO_MANY_PARTS                        TryAgain 500 "merges must catch up first";
    254 NO_REPLICA_HAS_PART                   TryAgain 500 "a replica is away";
    279 ALL_CONNECTION_TRIES_FAILED           TryAgain 500 "a replica is away";
    285 TOO_FEW_LIVE_REPLICAS                 TryAgain 500 "no quorum now";
    286 UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE TryAgain 500 "no quorum yet";
    289 REPLICA_IS_NOT_IN_QUORUM              TryAgain 500 "the replica is behind";
    307 TOO_MANY_BYTES                        Stop     500 "a limit of the query, which stays";
    319 UNKNOWN_STATUS_OF_INSERT              TryAgain 500 "perhaps stored; inserts are idempotent";
    321 VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE    BadBlock 400 "a value is outside of its range";
    349 CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN BadBlock 500 "a value is missing";
    358 INTO_OUTFILE_NOT_ALLOWED              Stop     500 "the statement is wrong";
    394 QUERY_WAS_CANCELLED                   TryAgain 500 "somebody stopped it";
    396 TOO_MANY_ROWS_OR_BYTES                Stop     500 "a limit of the result, which stays";
    425 SYSTEM_ERROR                          TryAgain 500 "its machine is in trouble";
    439 CANNOT_SCHEDULE_TASK                  TryAgain 503 "it is busy now";
    457 BAD_QUERY_PARAMETER                   Stop     400 "the statement is wrong";
    469 VIOLATED_CONSTRAINT                   BadBlock 500 "a value breaks a rule of the table";
    473 DEADLOCK_AVOIDED                      TryAgain 500 "the table is being changed";
    497 ACCESS_DENIED                         Stop     403 "this user may not do it";
    516 AUTHENTICATION_FAILED                 Stop     403 "credentials are wrong";
    571 DATABASE_REPLICATION_FAILED           TryAgain 500 "a replica is away";
    596 REPLICA_STATUS_CHANGED                TryAgain 500 "the replica is changing state";
    691 UNKNOWN_ELEMENT_OF_ENUM               BadBlock 400 "a value is not of its type";
    999 KEEPER_EXCEPTION                      TryAgain 500 "the keeper is in trouble";
    1000 POCO_EXCEPTION                       TryAgain 500 "its disk or network is in trouble";
    1001 STD_EXCEPTION                        TryAgain 500 "its disk or memory is in trouble";
    1002 UNKNOWN_EXCEPTION                    Stop     500 "nobody knows";
};

/// What is known of a code. `None`: nobody has judged it.
pub(crate) fn lookup(number: u32) -> Option<&'static Code> {
    CODES.iter().find(|code| code.number == number)
}

/// The HTTP status of an error answer, 500 unless ClickHouse has a better one.
pub(crate) fn http_status(number: u32) -> u16 {
    lookup(number).map_or(500, |code| code.http_status)
}

/// The number in `Code: 60. DB::Exception: …`, wherever it stands in the text.
pub(crate) fn number_in(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_with_its_reason() {
        for pair in CODES.windows(2) {
            assert!(pair[0].number < pair[1].number, "{} is out of order", pair[1].name);
        }
        for code in CODES {
            assert!(!code.why.is_empty(), "{}", code.name);
            assert!((400..600).contains(&code.http_status), "{}", code.name);
        }
    }

    #[test]
    fn the_number_is_found_in_what_servers_say() {
        let rows: &[(&str, &str, Option<u32>)] = &[
            ("a plain exception", "Code: 60. DB::Exception: Unknown table", Some(60)),
            ("the outer one of two", "Code: 27. DB::Exception: Code: 26. DB::x", Some(27)),
            ("a header alone", "Code: 516", Some(516)),
            ("after the client's own words", "bad response: Code: 241. DB::", Some(241)),
            ("no code", "502 Bad Gateway", None),
            ("no number", "Code: x", None),
        ];
        for (name, text, want) in rows {
            assert_eq!(number_in(text), *want, "{name}");
        }
    }
}
